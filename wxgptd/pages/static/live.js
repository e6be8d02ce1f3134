// Lets an answer grow on the page: server-sent events, and long-polling where none arrive.
// ES2017, no module, no dependency: WeChat's browser on Android can be Chromium 78.
(function () {
  "use strict";
  const SILENCE_MS = 4000; // some networks hold server-sent events back for ever
  const answer = document.getElementById("answer");
  const status = document.getElementById("status");
  const base = answer.dataset.live;
  let position = answer.dataset.position;
  let polling = !window.EventSource;
  let failures = 0, done = false;
  // One connection at a time: what a former one still brings is not listened to.
  let connection = 0, source = null, timer = null;

  function show(update) {
    failures = 0;
    position = update.position;
    while (answer.children.length > update.from) answer.removeChild(answer.lastElementChild);
    update.blocks.forEach(function (html) {
      const block = document.createElement("div");
      block.className = "block";
      block.innerHTML = html; // rendered and sanitised by the server
      answer.appendChild(block);
    });
    status.textContent = update.status;
    status.className = "status " + update.progress;
    if (update.final) { done = true; close(); }
  }

  function close() {
    connection += 1;
    clearTimeout(timer);
    if (source) { source.close(); source = null; }
  }

  function connect() {
    close();
    if (done) return;
    if (polling) poll(connection); else listen(connection);
  }

  function reconnect() {
    close();
    failures += 1;
    const wait = Math.min(5000, 500 * Math.pow(2, failures)) * (0.5 + Math.random());
    timer = setTimeout(connect, wait);
  }

  function address(kind) {
    return base + "/" + kind + "?position=" + encodeURIComponent(position);
  }

  function listen(mine) {
    let heard = false;
    source = new EventSource(address("events"));
    timer = setTimeout(function () { polling = true; connect(); }, SILENCE_MS);
    source.addEventListener("update", function (event) {
      if (mine !== connection) return;
      heard = true;
      clearTimeout(timer);
      show(JSON.parse(event.data));
    });
    source.onerror = function () {
      if (mine !== connection) return;
      if (!heard) polling = true; // it also learns from the status why
      reconnect();
    };
  }

  function poll(mine) {
    fetch(address("poll"), { cache: "no-store" })
      .then(function (response) {
        if (mine !== connection) return null;
        if (response.status === 404) { location.reload(); return null; }
        if (!response.ok) throw new Error(response.status);
        return response.json();
      })
      .then(function (update) {
        if (!update || mine !== connection) return;
        show(update);
        if (!done) timer = setTimeout(function () { poll(mine); }, 200);
      })
      .catch(function () { if (mine === connection) reconnect(); });
  }

  // iOS kills streams in the background without a word.
  function back() {
    if (document.visibilityState !== "visible" || done) return;
    failures = 0;
    connect();
  }
  document.addEventListener("visibilitychange", back);
  window.addEventListener("pageshow", function (event) { if (event.persisted) back(); });
  connect();
})();
