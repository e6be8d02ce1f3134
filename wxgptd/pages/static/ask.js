// Ask on: exchange the link's secret for the right to write, and send what is written.
// ES2017, no module, no dependency: WeChat's browser on Android can be Chromium 78.
(function () {
  "use strict";
  // Before anything else: an address that is copied or shared must not carry the secret.
  const found = location.hash.slice(1);
  if (found) history.replaceState(null, "", location.pathname + location.search);

  const liveScript = document.currentScript.src.replace("ask.js", "live.js");
  const SEEN_EVERY_MS = 60000, PATIENCE_MS = 20000;
  const byId = function (id) { return document.getElementById(id); };
  const form = byId("ask"), turns = byId("turns"), note = byId("asking");
  const first = document.querySelector("[data-page]");
  const memory = {}; // in case storage is forbidden

  // What was sent but not answered is kept until it is: after a reload it is sent again, with the
  // same key, so that it is done once.
  function kept(name, value) {
    const key = "wxgptd " + name + " " + first.dataset.page;
    if (value !== undefined) memory[key] = value;
    try {
      if (value) sessionStorage.setItem(key, JSON.stringify(value));
      else if (value === null) sessionStorage.removeItem(key);
      else if (!(key in memory)) memory[key] = JSON.parse(sessionStorage.getItem(key));
    } catch (_) { /* it is in memory */ }
    return memory[key] || null;
  }

  function newKey() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return Array.from(bytes, function (byte) { return byte.toString(16).padStart(2, "0"); }).join("");
  }

  function post(turn, kind, body, key) {
    const headers = { "Content-Type": "application/json" };
    if (turn.dataset.form) headers["X-Form-Token"] = turn.dataset.form;
    if (key) headers["Idempotency-Key"] = key;
    const aborting = new AbortController();
    const timer = setTimeout(function () { aborting.abort(); }, PATIENCE_MS);
    return fetch(turn.dataset.page + "/" + kind, {
      method: "POST", headers: headers, body: JSON.stringify(body || {}),
      credentials: "same-origin", cache: "no-store", signal: aborting.signal
    }).then(function (response) {
      return response.json().then(function (answer) {
        clearTimeout(timer);
        if (response.ok) return answer;
        const refused = new Error(answer.error);
        refused.status = response.status;
        throw refused;
      });
    });
  }

  // Exchange the secret. A response that is lost is asked for again, with the same nonce.
  function claim() {
    const exchange = found ? { secret: found, nonce: newKey() } : kept("claim");
    if (!exchange) return Promise.resolve(false);
    kept("claim", exchange);
    return post(first, "claim", exchange).then(function (answer) {
      kept("claim", null);
      first.dataset.form = answer.form;
      known = answer;
      known.claimed = true;
      return true;
    }, function (error) {
      if (error.status) kept("claim", null);
      throw error;
    });
  }

  if (!form) { claim().catch(function () {}); return; }
  const area = form.elements.question, sendButton = byId("send"), stopButton = byId("stop");
  const models = byId("model"), words = byId("words");
  let admitted = Boolean(first.dataset.form), busy = false;
  // What only the user may know: the models to choose from, and the links to shared turns.
  let known = { models: JSON.parse(form.dataset.models), shares: JSON.parse(form.dataset.shares) };
  let onAdmitted = null;
  window.wxgptd = {
    post: post, newKey: newKey, refused: refused, first: first,
    onAdmitted: function (work) { onAdmitted = work; if (admitted) tell(); },
  };

  function tell() {
    if (onAdmitted) onAdmitted(known);
    if (models && models.length === 1) {
      known.models.forEach(function (name) { models.add(new Option(name, name)); });
      models.hidden = !known.models.length;
    }
  }

  // The page of a history has no turns: what is asked there appears on its own page.
  const last = function () { return turns ? turns.lastElementChild : first; };
  const isWriting = function (turn) { return Boolean(turn.querySelector("[aria-busy]")); };

  // Show what can be done now.
  function refresh() {
    const writing = isWriting(last());
    form.hidden = false;
    form.classList.toggle("closed", !admitted && !area.value); // what was typed stays
    if (turns) {
      byId("own").hidden = !admitted || writing;
      byId("hint").hidden = true; // the note says how to go on
    }
    stopButton.hidden = !writing;
    sendButton.hidden = writing && !area.value;
    sendButton.disabled = busy || !admitted;
    document.querySelectorAll(".rate").forEach(function (button) {
      const pressed = last().dataset.rating === button.dataset.rating;
      button.setAttribute("aria-pressed", String(pressed));
    });
    if (!admitted && !note.textContent) note.textContent = form.dataset.inChat;
  }

  function say(text, isProblem) {
    note.textContent = text || "";
    note.className = isProblem ? "problem" : "";
  }

  function refused(error) {
    say(error.status ? error.message : form.dataset.failed, true);
    if (error.status === 401 || error.status === 410) admitted = false;
    refresh();
  }

  function admit() {
    return claim().then(function (claimed) {
      // A browser that keeps no cookies could not ask.
      return claimed && post(first, "seen").then(function () { admitted = true; tell(); });
    }).catch(function (error) {
      // A browser that claims but then may not write keeps no cookies.
      if (!admitted && found && error.status === 401 && known.claimed) say(form.dataset.noCookies);
      else if (!admitted) say(error.status ? error.message : form.dataset.failed);
    });
  }

  // Asking.

  // A turn without anything in it, made from the first one.
  function blankTurn() {
    const turn = turns.firstElementChild.cloneNode(true);
    const remark = turn.querySelector(".remark"), elapsed = document.createElement("span");
    if (remark) turn.removeChild(remark);
    turn.removeChild(turn.querySelector(".about"));
    turn.dataset.rating = "";
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
    if (!turns) { location.assign(answer.page); return; }
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
    Array.from(turns.children).forEach(function (other) { other.classList.remove("asked"); });
    turn.classList.add("asked"); // room for the question to stay at the top
    turns.appendChild(turn);
    byId("after").hidden = true;
    words.hidden = true;
    follow(turn);
    turn.scrollIntoView({ block: "start", behavior: "smooth" });
  }

  let loading = null;
  function follow(turn) {
    if (window.wxgptd.follow) { window.wxgptd.follow(turn); return; }
    if (loading) return; // it will follow every unfinished turn
    loading = document.createElement("script");
    loading.src = liveScript;
    loading.onerror = function () {
      document.head.removeChild(loading);
      loading = null;
      turn.querySelector(".status").textContent = turns.dataset.offline;
      setTimeout(function () { follow(turn); }, 2000);
    };
    document.head.appendChild(loading);
  }

  function turnOf(page) {
    return Array.from(turns ? turns.children : []).find(function (turn) {
      return turn.dataset.page === page;
    });
  }

  function send(pending) {
    if (busy) return;
    busy = true;
    say("");
    kept("question", pending);
    refresh();
    const turn = pending.retry ? turnOf(pending.retry) : first;
    if (!turn) { kept("question", null); busy = false; refresh(); return; } // it is not shown here
    const kind = pending.retry ? "retry" : "ask";
    const body = pending.retry ? { model: pending.model || "" } : { question: pending.question };
    post(turn, kind, body, pending.key).then(function (answer) {
      kept("question", null);
      busy = false;
      if (!pending.retry && area.value.trim() === pending.question) area.value = "";
      grow();
      if (!turnOf(answer.page)) add(answer);
      refresh();
    }, function (error) {
      busy = false;
      if (error.status) kept("question", null); // it was not asked; without a status, nobody knows
      if (!pending.retry && !area.value) area.value = pending.question;
      refused(error);
    });
  }

  function ask() {
    const question = area.value.trim(), before = kept("question");
    if (!question || busy) return;
    const again = before && before.question === question;
    send(again ? before : { question: question, key: newKey() });
  }

  function grow() {
    area.style.height = "auto";
    area.style.height = Math.min(area.scrollHeight, 160) + "px";
  }

  form.addEventListener("submit", function (event) { event.preventDefault(); ask(); });
  area.addEventListener("input", function () { grow(); refresh(); });
  area.addEventListener("keydown", function (event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    ask();
  });

  // Stopping, asking again, rating.

  if (turns) turns.addEventListener("final", refresh);

  stopButton.addEventListener("click", function () {
    const running = Array.from(turns.children).find(isWriting) || last();
    post(running, "stop").then(function () { say(form.dataset.stopped); }, refused);
  });
  if (turns) byId("retry").addEventListener("click", function () {
    const page = last().dataset.page, before = kept("question");
    send(before && before.retry === page ? before : { retry: page, key: newKey() });
  });
  let rated = null;
  if (models) models.addEventListener("change", function () {
    const model = models.value;
    models.selectedIndex = 0;
    if (model) send({ retry: last().dataset.page, key: newKey(), model: model });
  });
  document.querySelectorAll(".rate").forEach(function (button) {
    button.addEventListener("click", function () {
      const turn = last(), rating = button.dataset.rating;
      const wanted = turn.dataset.rating === rating ? "" : rating;
      post(turn, "feedback", { rating: wanted }).then(function () {
        turn.dataset.rating = wanted;
        say(wanted ? form.dataset.thanks : "");
        words.hidden = !wanted;
        words.elements.words.value = "";
        rated = turn;
        refresh();
      }, refused);
    });
  });
  if (words) words.addEventListener("submit", function (event) {
    event.preventDefault();
    const said = words.elements.words.value.trim();
    if (!said) return;
    post(rated, "feedback", { rating: rated.dataset.rating, words: said }).then(function () {
      words.hidden = true;
      say(form.dataset.thanks);
    }, refused);
  });

  setInterval(function () {
    if (admitted && document.visibilityState === "visible") post(last(), "seen").catch(function () {});
  }, SEEN_EVERY_MS);

  if (admitted) tell();
  admit().then(function () {
    refresh();
    const pending = kept("question");
    if (admitted && pending) send(pending);
  });
})();
