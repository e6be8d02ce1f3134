// Ask on: exchange the link's secret for the right to write, and send what is written.
// ES2017, no module, no dependency: WeChat's browser on Android can be Chromium 78.
(function () {
  "use strict";
  // Before anything else: an address that is copied or shared must not carry the secret.
  const secret = location.hash.slice(1);
  if (secret) history.replaceState(null, "", location.pathname + location.search);

  const liveScript = document.currentScript.src.replace("ask.js", "live.js");
  const SEEN_EVERY_MS = 60000;
  const byId = function (id) { return document.getElementById(id); };
  const form = byId("ask"), turns = byId("turns"), note = byId("asking");
  if (!form) return;
  const area = form.elements.question, sendButton = byId("send"), stopButton = byId("stop");
  const page = turns.firstElementChild.dataset.page;
  const storedAs = "wxgptd pending " + page;
  let admitted = Boolean(turns.firstElementChild.dataset.form), busy = false;

  const last = function () { return turns.lastElementChild; };
  const isWriting = function (turn) { return Boolean(turn.querySelector("[aria-busy]")); };

  function post(turn, kind, body, key) {
    const headers = { "Content-Type": "application/json" };
    if (turn.dataset.form) headers["X-Form-Token"] = turn.dataset.form;
    if (key) headers["Idempotency-Key"] = key;
    return fetch(turn.dataset.page + "/" + kind, {
      method: "POST", headers: headers, body: JSON.stringify(body || {}),
      credentials: "same-origin", cache: "no-store"
    }).then(function (response) {
      return response.json().then(function (answer) {
        if (response.ok) return answer;
        const refused = new Error(answer.error);
        refused.status = response.status;
        throw refused;
      });
    });
  }

  // What was sent but not answered: after a reload it is sent again with the same key, so that the
  // question is asked once. Storage may be forbidden.
  function stored(pending) {
    try {
      if (pending === undefined) return JSON.parse(sessionStorage.getItem(storedAs));
      if (pending) sessionStorage.setItem(storedAs, JSON.stringify(pending));
      else sessionStorage.removeItem(storedAs);
    } catch (_) { /* it is kept in memory only */ }
    return pending || null;
  }

  function newKey() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return Array.from(bytes, function (byte) { return byte.toString(16).padStart(2, "0"); }).join("");
  }

  // Show what can be done now.
  function refresh() {
    const writing = isWriting(last());
    form.hidden = !admitted;
    byId("own").hidden = !admitted || writing;
    byId("hint").hidden = admitted; // it says how to go on in the chat
    stopButton.hidden = !writing;
    sendButton.disabled = busy;
    if (!admitted && !note.textContent) note.textContent = form.dataset.inChat;
  }

  function say(text) { note.textContent = text || ""; }

  function refused(error) {
    say(error.status ? error.message : form.dataset.failed);
    if (error.status === 401 || error.status === 410) admitted = false;
    refresh();
  }

  function admit() {
    if (!secret) return Promise.resolve();
    return post(turns.firstElementChild, "claim", { secret: secret }).then(function (answer) {
      turns.firstElementChild.dataset.form = answer.form;
      admitted = true;
    }, function (error) {
      if (!admitted) say(error.status ? error.message : form.dataset.failed);
    });
  }

  // Asking.

  // A turn without anything in it, made from the first one.
  function blankTurn() {
    const turn = turns.firstElementChild.cloneNode(true);
    const remark = turn.querySelector(".remark"), elapsed = document.createElement("span");
    if (remark) turn.removeChild(remark);
    turn.querySelectorAll("[id]").forEach(function (part) { part.removeAttribute("id"); });
    const article = turn.querySelector(".answer"), state = turn.querySelector(".state");
    article.textContent = "";
    article.className = "answer waiting";
    article.setAttribute("aria-busy", "true");
    article.dataset.position = "";
    turn.querySelector(".thoughts").hidden = true;
    turn.querySelector(".thoughts p").textContent = "";
    state.className = "state waiting";
    state.querySelector(".status").textContent = "";
    elapsed.className = "elapsed";
    elapsed.dataset.waited = "0";
    if (state.querySelector(".elapsed")) state.removeChild(state.querySelector(".elapsed"));
    state.appendChild(elapsed);
    return turn;
  }

  function add(answer) {
    const turn = blankTurn();
    turn.dataset.page = answer.page;
    turn.dataset.form = answer.form;
    turn.querySelector(".question p").textContent = answer.question;
    if (answer.session === "new" || answer.session === "other") {
      const remark = document.createElement("p");
      remark.className = "remark";
      remark.textContent = answer.session === "new" ? form.dataset.new : form.dataset.other;
      turn.insertBefore(remark, turn.firstChild);
    }
    turns.appendChild(turn);
    byId("after").hidden = true;
    follow(turn);
    turn.scrollIntoView({ block: "start", behavior: "smooth" });
  }

  function follow(turn) {
    if (window.wxgptd.follow) { window.wxgptd.follow(turn); return; }
    const script = document.createElement("script"); // it follows every unfinished turn
    script.src = liveScript;
    document.head.appendChild(script);
  }

  function known(answer) {
    return Array.from(turns.children).some(function (turn) {
      return turn.dataset.page === answer.page;
    });
  }

  function send(pending) {
    if (busy) return;
    busy = true;
    say("");
    stored(pending);
    refresh();
    const turn = pending.retry ? Array.from(turns.children).find(function (turn) {
      return turn.dataset.page === pending.retry;
    }) : turns.firstElementChild;
    const kind = pending.retry ? "retry" : "ask";
    const body = pending.retry ? {} : { question: pending.question };
    post(turn || last(), kind, body, pending.key).then(function (answer) {
      stored(null);
      busy = false;
      if (!pending.retry && area.value.trim() === pending.question) area.value = "";
      grow();
      if (!known(answer)) add(answer);
      refresh();
    }, function (error) {
      busy = false;
      if (error.status) stored(null); // it was not asked; without a status, nobody knows
      if (!pending.retry && !area.value) area.value = pending.question;
      refused(error);
    });
  }

  function ask() {
    const question = area.value.trim(), before = stored();
    if (!question || busy) return;
    const again = before && before.question === question;
    send(again ? before : { question: question, key: newKey() });
  }

  function grow() {
    area.style.height = "auto";
    area.style.height = Math.min(area.scrollHeight, 160) + "px";
  }

  form.addEventListener("submit", function (event) { event.preventDefault(); ask(); });
  area.addEventListener("input", grow);
  area.addEventListener("keydown", function (event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    ask();
  });
  turns.addEventListener("final", refresh);

  // Stopping, asking again, rating.

  stopButton.addEventListener("click", function () {
    post(last(), "stop").catch(refused);
  });
  byId("retry").addEventListener("click", function () {
    send({ retry: last().dataset.page, key: newKey() });
  });
  document.querySelectorAll(".rate").forEach(function (button) {
    button.addEventListener("click", function () {
      const taken = button.getAttribute("aria-pressed") === "true";
      const rating = taken ? "" : button.dataset.rating;
      post(last(), "feedback", { rating: rating }).then(function () {
        document.querySelectorAll(".rate").forEach(function (other) {
          other.setAttribute("aria-pressed", String(other === button && !taken));
        });
        say(taken ? "" : form.dataset.thanks);
      }, refused);
    });
  });

  setInterval(function () {
    if (admitted && document.visibilityState === "visible") post(last(), "seen").catch(function () {});
  }, SEEN_EVERY_MS);

  admit().then(function () {
    refresh();
    const pending = stored();
    if (admitted && pending) send(pending);
  });
})();
