// Lets an answer grow on the page: server-sent events, and long-polling where none arrive.
// ES2017, no module, no dependency: WeChat's browser on Android can be Chromium 78.
(function () {
  "use strict";
  var answer = document.getElementById("answer");
  var status = document.getElementById("status");
  var base = answer.dataset.live;
  var position = answer.dataset.position;
  var source = null, silence = null, retry = null, polling = false, failures = 0, done = false;

  function show(update) {
    failures = 0;
    position = update.position;
    while (answer.children.length > update.from) answer.removeChild(answer.lastElementChild);
    update.blocks.forEach(function (html) {
      var block = document.createElement("div");
      block.className = "block";
      block.innerHTML = html; // rendered and sanitised by the server
      answer.appendChild(block);
    });
    status.textContent = update.status;
    status.className = "status " + update.progress;
    if (update.final) { done = true; stop(); }
  }

  function stop() {
    clearTimeout(silence);
    clearTimeout(retry);
    retry = null;
    if (source) { source.close(); source = null; }
  }

  function again() {
    if (done || retry) return;
    failures += 1;
    var wait = Math.min(15000, 500 * Math.pow(2, failures)) * (0.5 + Math.random());
    retry = setTimeout(function () { retry = null; connect(); }, wait);
  }

  function connect() {
    if (done || source) return;
    if (polling || !window.EventSource) { poll(); return; }
    source = new EventSource(base + "/events?position=" + encodeURIComponent(position));
    silence = setTimeout(function () { stop(); polling = true; poll(); }, 4000);
    source.addEventListener("update", function (event) {
      clearTimeout(silence);
      show(JSON.parse(event.data));
    });
    source.onerror = function () { stop(); again(); };
  }

  function poll() {
    if (done) return;
    fetch(base + "/poll?position=" + encodeURIComponent(position), { cache: "no-store" })
      .then(function (response) {
        if (response.status === 404) { location.reload(); return null; }
        if (!response.ok) throw new Error(response.status);
        return response.json();
      })
      .then(function (update) {
        if (!update) return;
        show(update);
        if (!done) setTimeout(poll, 200);
      })
      .catch(again);
  }

  // iOS kills streams in the background without a word.
  function back() {
    if (document.visibilityState !== "visible" || done) return;
    stop();
    failures = 0;
    connect();
  }
  document.addEventListener("visibilitychange", back);
  window.addEventListener("pageshow", function (event) { if (event.persisted) back(); });
  connect();
})();
