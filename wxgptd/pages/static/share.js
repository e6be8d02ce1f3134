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
        item.tabIndex = -1;
        item.focus();
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
      list.querySelector("button").focus();
      return true;
    }, page.refused);
  }

  // Choosing turns.

  function turns() {
    return Array.from(document.querySelectorAll("#turns > .turn")).filter(function (turn) {
      return !turn.querySelector("[aria-busy]");
    });
  }

  let key = null;
  function count() {
    const number = document.querySelectorAll(".pick input:checked").length, make = byId("make-share");
    make.dataset.label = make.dataset.label || make.textContent;
    make.textContent = make.dataset.label + "（" + number + "）";
    make.disabled = !number;
  }
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
      box.addEventListener("change", count);
      pick.className = "pick";
      pick.appendChild(box);
      pick.appendChild(document.createTextNode(button.textContent));
      turn.insertBefore(pick, turn.firstChild);
    });
    count();
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
      share(page.first, { turns: tokens }, key).then(function (made) {
        if (made) choose(false); else key = page.newKey();
      });
    });
  }

  // The conversations of a history.

  function each(name, work) { document.querySelectorAll(name).forEach(work); }
  each(".share-dialogue", function (button) {
    let own = page.newKey();
    button.addEventListener("click", function () {
      share(page.first, { session: button.closest(".dialogue").dataset.session }, own)
        .then(function () { own = page.newKey(); }); // shared again later, it is another link
    });
  });
  each(".delete-dialogue", function (button) {
    const label = button.textContent;
    button.addEventListener("click", function () {
      if (button.textContent === label) {
        button.textContent = button.dataset.sure;
        setTimeout(function () { button.textContent = label; }, SURE_MS);
        return;
      }
      const dialogue = button.closest(".dialogue");
      page.post(page.first, "delete", { session: dialogue.dataset.session }).then(function () {
        const word = document.createElement("p");
        word.className = "state";
        word.setAttribute("role", "status");
        word.textContent = button.dataset.deleted;
        dialogue.parentNode.replaceChild(word, dialogue);
      }, page.refused);
    });
  });

  page.onAdmitted(function (known) {
    known.shares.slice().reverse().forEach(show);
    if (button) button.hidden = false;
    each(".share-dialogue, .delete-dialogue", function (button) { button.hidden = false; });
  });
})();
