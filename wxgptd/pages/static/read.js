// Larger text, and reading on at the place where one stopped.
// ES2017, no module, no dependency: WeChat's browser on Android can be Chromium 78.
(function () {
  "use strict";
  const LARGE = "wxgptd large", PLACE = "wxgptd place " + location.pathname + location.search;
  const WORTH_KEEPING_PX = 400;
  const button = document.getElementById("larger");

  function load(name) {
    try { return localStorage.getItem(name); } catch (_) { return null; } // storage is forbidden
  }

  function store(name, value) {
    try {
      if (value) localStorage.setItem(name, value); else localStorage.removeItem(name);
    } catch (_) { /* it lasts as long as the page */ }
  }

  function enlarge(large) {
    document.documentElement.classList.toggle("large", large);
    if (button) button.setAttribute("aria-pressed", String(large));
  }

  enlarge(Boolean(load(LARGE)));
  if (button) {
    button.hidden = false;
    button.addEventListener("click", function () {
      const large = button.getAttribute("aria-pressed") !== "true";
      store(LARGE, large ? "1" : "");
      enlarge(large);
    });
  }

  // A reload restores the place by itself; a page that is opened again later does not.
  const place = Number(load(PLACE));
  if (place && !window.scrollY) window.scrollTo(0, place);
  window.addEventListener("pagehide", function () {
    const end = document.documentElement.scrollHeight - window.innerHeight;
    const isWorthIt = window.scrollY > WORTH_KEEPING_PX && window.scrollY < end - WORTH_KEEPING_PX;
    store(PLACE, isWorthIt ? String(Math.round(window.scrollY)) : "");
  });
})();
