// Updates the page as the answer grows: server-sent events, or long polling where none arrive.
// ES2017, no module, no dependency: WeChat's browser on Android can be Chromium 78.
(function () {
  "use strict";
  const SILENCE_MS = 4000; // some networks buffer server-sent events for ever
  const MAX_WAIT_MS = 8000;
  const LIFELESS_MS = 30000; // the server sends something every 12 s; a poll takes at most 20 s
  const BLOCKS = /^(DIV|P|UL|OL|LI|BLOCKQUOTE|PRE|TABLE|THEAD|TBODY|TR|TD|TH|H[1-6])$/;
  const root = document.getElementById("turns");

  // Keep one answer, a `.turn` of the page, up to date until it is final.
  function follow(turn) {
    const find = function (name) { return turn.querySelector(name); };
    const answer = find(".answer"), state = find(".state"), status = find(".status");
    const thoughts = find(".thoughts"), thought = thoughts.querySelector("p");
    const elapsed = find(".elapsed"), base = turn.dataset.page;
    let position = answer.dataset.position;
    const shown = []; // the HTML of each block that the server has sent
    let events = Boolean(window.EventSource), heardEver = false;
    let failures = 0, done = false;
    // One connection at a time: anything that still arrives on an earlier one is ignored.
    let connection = 0, source = null, asking = null, timer = null;

    // The display.

    function show(update) {
      failures = 0;
      const reading = window.scrollY > 0 && !turn.classList.contains("asked") &&
        window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - 60;
      const count = update.from + update.blocks.length;
      if (update.keep && shown[update.from] === undefined) { position = ""; connect(); return; }
      update.blocks.forEach(function (html, offset) {
        const index = update.from + offset;
        if (offset === 0 && update.keep) html = shown[index].slice(0, update.keep) + html;
        shown[index] = html;
        if (!answer.children[index]) {
          const block = document.createElement("div");
          block.className = "block";
          answer.appendChild(block);
        }
        const fresh = document.createElement("template");
        fresh.innerHTML = html; // rendered and sanitised by the server
        patch(answer.children[index], fresh.content);
      });
      while (answer.children.length > count) answer.removeChild(answer.lastElementChild);
      shown.length = count;
      if (window.wxgptd) window.wxgptd.equip(answer);
      mark(update.final);
      if (!update.final) think(update.thoughts); // the final update has none: keep what is shown
      position = update.position;
      status.textContent = update.status;
      answer.className = "answer " + update.progress;
      state.className = "state " + update.progress;
      if (update.final) finish(update);
      if (reading) window.scrollTo(0, document.documentElement.scrollHeight);
    }

    // Put the cursor where the next word will appear: in the innermost last element.
    function mark(final) {
      const former = answer.querySelector(".cursor");
      if (former) {
        former.classList.remove("cursor");
        if (!former.className) former.removeAttribute("class");
      }
      if (final) return;
      let place = answer;
      for (;;) {
        const last = Array.from(place.childNodes).reverse().find(function (node) {
          return node.nodeName !== "BUTTON" && (node.nodeType === 1 || node.data.trim());
        });
        const inside = last && last.nodeType === 1 && (BLOCKS.test(last.nodeName) ||
          last.nodeName === "CODE" && place.nodeName === "PRE");
        if (!inside) break;
        place = last;
      }
      if (place !== answer) place.classList.add("cursor");
    }

    function think(update) {
      thought.textContent = thought.textContent.slice(0, update.from) + update.text;
      thoughts.hidden = !thought.textContent;
    }

    function finish(update) {
      done = true;
      close();
      clearInterval(ticking);
      answer.removeAttribute("aria-busy");
      elapsed.hidden = true;
      if (turn === root.lastElementChild) {
        document.getElementById("hint").textContent = update.hint;
        document.getElementById("after").hidden = false;
      }
      turn.dispatchEvent(new CustomEvent("final", { bubbles: true }));
    }

    // Make the children of `old` match those of `fresh`, touching only what differs, so that a
    // selection or the scroll position of a wide table survives.
    function patch(old, fresh) {
      let mine = old.firstChild, theirs = fresh.firstChild;
      while (theirs) {
        const next = theirs.nextSibling;
        if (!mine) {
          old.appendChild(theirs);
        } else if (mine.nodeName === theirs.nodeName) {
          if (mine.nodeType !== 1) {
            if (mine.data !== theirs.data) mine.data = theirs.data;
          } else if (!mine.isEqualNode(theirs)) {
            patchAttributes(mine, theirs);
            patch(mine, theirs);
          }
          mine = mine.nextSibling;
        } else {
          const replaced = mine;
          mine = mine.nextSibling;
          old.replaceChild(theirs, replaced);
        }
        theirs = next;
      }
      while (mine) {
        const surplus = mine;
        mine = mine.nextSibling;
        if (surplus.nodeName !== "BUTTON") old.removeChild(surplus); // keep copy buttons
      }
    }

    function patchAttributes(old, fresh) {
      Array.from(old.attributes).forEach(function (attribute) {
        if (!fresh.hasAttribute(attribute.name)) old.removeAttribute(attribute.name);
      });
      Array.from(fresh.attributes).forEach(function (attribute) {
        const name = attribute.name, value = attribute.value;
        if (old.getAttribute(name) !== value) old.setAttribute(name, value);
      });
    }

    const opened = Date.now();
    const ticking = setInterval(function () {
      const waited = Number(elapsed.dataset.waited) + (Date.now() - opened) / 1000;
      elapsed.textContent = root.dataset.elapsed.replace("#", String(Math.floor(waited)));
    }, 1000);

    // The connection.

    function close() {
      connection += 1;
      clearTimeout(timer);
      if (source) { source.close(); source = null; }
      if (asking) { asking.abort(); asking = null; }
    }

    function connect() {
      close();
      if (done) return;
      if (events) listen(connection); else poll(connection);
    }

    function again() {
      close();
      failures += 1;
      if (failures > 2) status.textContent = root.dataset.offline;
      const wait = Math.min(MAX_WAIT_MS, 400 * Math.pow(2, failures));
      timer = setTimeout(connect, wait * (0.5 + Math.random() / 2));
    }

    function address(kind) {
      return base + "/" + kind + "?position=" + encodeURIComponent(position);
    }

    // A network can die silently: nothing arrives, and no error is reported.
    function watch() {
      clearTimeout(timer);
      timer = setTimeout(again, LIFELESS_MS);
    }

    function listen(mine) {
      let heard = false;
      source = new EventSource(address("events"));
      timer = setTimeout(function () { events = false; connect(); }, SILENCE_MS);
      source.addEventListener("update", function (event) {
        if (mine !== connection) return;
        heard = heardEver = true;
        watch();
        show(JSON.parse(event.data));
      });
      source.addEventListener("beat", function () { if (mine === connection) watch(); });
      source.onerror = function () {
        if (mine !== connection) return;
        close();
        // A poll also shows why: the answer may be gone, or just the server unreachable.
        if (heard) again(); else poll(connection);
      };
    }

    function poll(mine) {
      asking = new AbortController();
      watch();
      fetch(address("poll"), { cache: "no-store", signal: asking.signal })
        .then(function (response) {
          if (mine !== connection) return null;
          if (response.status === 404) { location.reload(); return null; }
          if (!response.ok) throw new Error(response.status);
          return response.json();
        })
        .then(function (update) {
          if (!update || mine !== connection) return;
          events = events && heardEver; // where none has ever arrived, none will
          clearTimeout(timer);
          show(update);
          if (!done && mine === connection) timer = setTimeout(connect, 200);
        })
        .catch(function () { if (mine === connection) again(); });
    }

    // iOS kills streams in the background silently.
    function back() {
      if (document.visibilityState !== "visible" || done) return;
      failures = 0;
      connect();
    }
    document.addEventListener("visibilitychange", back);
    window.addEventListener("online", back);
    window.addEventListener("pageshow", function (event) { if (event.persisted) back(); });
    connect();
  }

  if (window.wxgptd) window.wxgptd.follow = follow;
  root.querySelectorAll(".turn").forEach(function (turn) {
    if (turn.querySelector("[aria-busy]")) follow(turn);
  });
})();
