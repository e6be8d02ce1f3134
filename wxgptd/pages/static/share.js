// Sharing turns by a link that can be withdrawn, and deleting a conversation of the history.
// ES2017, no module, no dependency: WeChat's browser on Android can be Chromium 78.
(function () {
  "use strict";
  const page = window.wxgptd, SURE_MS = 4000;
  const byId = function (id) { return document.getElementById(id); };
  const shares = byId("shares"), choosing = byId("choosing"), button = byId("share");
  const list = shares && shares.querySelector("ul");
  if (!list || !page.post) return;

  // The links made so far.

  function entry(share) {
    const item = document.createElement("li"), link = document.createElement("a");
    const copy = document.createElement("button"), withdraw = document.createElement("button");
    link.href = link.textContent = share.url;
    copy.type = withdraw.type = "button";
    copy.className = "copy";
    copy.dataset.copy = "link";
    copy.dataset.text = share.url;
    copy.textContent = document.body.dataset.copy;
    withdraw.textContent = shares.dataset.withdraw;
    withdraw.addEventListener("click", function () {
      page.post(page.first, "withdraw", { share: share.token }).then(function () {
        item.textContent = shares.dataset.withdrawn;
      }, page.refused);
    });
    const about = document.createElement("span");
    about.className = "about";
    about.textContent = share.about;
    [about, link, copy, withdraw].forEach(function (part) { item.appendChild(part); });
    item.dataset.share = share.token;
    return item;
  }

  function show(share) {
    const known = list.querySelector('[data-share="' + share.token + '"]');
    if (known) list.removeChild(known);
    list.insertBefore(entry(share), list.firstChild);
    shares.hidden = false;
  }

  function share(turn, body, key) {
    return page.post(turn, "share", body, key).then(function (made) {
      show(made);
      shares.open = true;
      shares.scrollIntoView({ block: "nearest" });
    }, page.refused);
  }

  // Choosing turns.

  function turns() {
    return Array.from(document.querySelectorAll("#turns > .turn")).filter(function (turn) {
      return !turn.querySelector("[aria-busy]");
    });
  }

  let key = null;
  function choose(on) {
    choosing.hidden = !on;
    document.documentElement.classList.toggle("picking", on);
    button.setAttribute("aria-expanded", String(on));
    document.querySelectorAll(".pick").forEach(function (pick) { pick.parentNode.removeChild(pick); });
    if (!on) return;
    key = page.newKey();
    turns().forEach(function (turn) {
      const pick = document.createElement("label"), box = document.createElement("input");
      box.type = "checkbox";
      box.checked = true;
      pick.className = "pick";
      pick.appendChild(box);
      pick.appendChild(document.createTextNode(button.textContent));
      turn.insertBefore(pick, turn.firstChild);
    });
  }

  if (button) {
    button.addEventListener("click", function () { choose(choosing.hidden); });
    byId("cancel-share").addEventListener("click", function () { choose(false); });
    byId("make-share").addEventListener("click", function () {
      const chosen = turns().filter(function (turn) {
        const box = turn.querySelector(".pick input");
        return box && box.checked;
      });
      if (!chosen.length) return;
      const tokens = chosen.map(function (turn) { return turn.dataset.page.split("/").pop(); });
      share(page.first, { turns: tokens }, key).then(function () { choose(false); });
    });
  }

  // The conversations of a history.

  function each(name, work) { document.querySelectorAll(name).forEach(work); }
  each(".share-dialogue", function (each) {
    const own = page.newKey();
    each.addEventListener("click", function () {
      share(page.first, { session: each.closest(".dialogue").dataset.session }, own);
    });
  });
  each(".delete-dialogue", function (each) {
    const label = each.textContent;
    each.addEventListener("click", function () {
      if (each.textContent === label) {
        each.textContent = each.dataset.sure;
        setTimeout(function () { each.textContent = label; }, SURE_MS);
        return;
      }
      const dialogue = each.closest(".dialogue");
      page.post(page.first, "delete", { session: dialogue.dataset.session }).then(function () {
        const word = document.createElement("p");
        word.className = "state";
        word.setAttribute("role", "status");
        word.textContent = each.dataset.deleted;
        dialogue.parentNode.replaceChild(word, dialogue);
      }, page.refused);
    });
  });

  page.onAdmitted(function (known) {
    known.shares.slice().reverse().forEach(show);
    if (button) button.hidden = false;
    each(".share-dialogue, .delete-dialogue", function (each) { each.hidden = false; });
  });
})();
