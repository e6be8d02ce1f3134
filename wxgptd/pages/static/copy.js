// The buttons that copy code or the whole answer, and the one that returns to the chat.
// ES2017, no module, no dependency: WeChat's browser on Android can be Chromium 78.
(function () {
  "use strict";
  const texts = document.body.dataset;
  const BLOCKS = /^(P|DIV|UL|OL|LI|TABLE|TR|BLOCKQUOTE|H[1-6]|HR)$/;
  document.documentElement.classList.add("scripted");

  // The visible text as plain text for a chat, including list numbers and LaTeX source.
  function textOf(node) {
    if (node.nodeType === 3) return /^\s*\n\s*$/.test(node.data) ? "" : node.data;
    const name = node.nodeName;
    if (name === "BUTTON" || name === "math" || name === "MATH") return "";
    if (name === "BR") return "\n";
    if (name === "PRE") return "\n\n" + node.textContent + "\n\n";
    const inner = Array.from(node.childNodes).map(textOf).join("");
    if (name === "LI") return "\n" + markerOf(node) + inner.trim().replace(/\n+/g, "\n  ");
    if (node.className === "source") return "$" + inner + "$";
    if (name === "TD" || name === "TH") return inner.trim() + (node.nextElementSibling ? "\t" : "");
    if (name === "TR") return "\n" + inner.replace(/\n/g, "");
    return BLOCKS.test(name) ? "\n\n" + inner + "\n\n" : inner;
  }

  function markerOf(item) {
    const list = item.parentNode;
    if (list.nodeName !== "OL") return "• ";
    return list.start + Array.prototype.indexOf.call(list.children, item) + ". ";
  }

  function plain(node) {
    return textOf(node).replace(/[ \t]+\n/g, "\n").replace(/\n{3,}/g, "\n\n").trim();
  }

  // The answer, or all questions and answers if there are several.
  function conversation(within) {
    const turns = Array.from(within.querySelectorAll(".turn"));
    return turns.map(function (turn) {
      const answer = plain(turn.querySelector(".answer"));
      const question = turn.querySelector(".question").textContent.trim();
      return turns.length > 1 ? question + "\n\n" + answer : answer;
    }).join("\n\n");
  }

  // A copy of the whole answer is labelled as AI-generated, as the page is.
  function labelled(text) {
    const label = document.body.dataset.aiLabel;
    return label ? text + "\n\n" + label : text;
  }

  function copy(text) {
    if (navigator.clipboard && window.isSecureContext) {
      return navigator.clipboard.writeText(text).catch(function () { copyBySelection(text); });
    }
    return new Promise(function (done) { copyBySelection(text); done(); });
  }

  // Browsers allow copying only in response to a tap, so the promise itself is handed over.
  function copyLater(promise) {
    if (window.ClipboardItem && navigator.clipboard && window.isSecureContext) {
      const blob = promise.then(function (text) { return new Blob([text], { type: "text/plain" }); });
      return navigator.clipboard.write([new ClipboardItem({ "text/plain": blob })])
        .catch(function () { return promise.then(copy); });
    }
    return promise.then(copy);
  }

  function fetched(name) {
    const page = document.querySelector("[data-page]").dataset.page;
    return fetch(page + "/" + name, { cache: "no-store" }).then(function (response) {
      if (!response.ok) throw new Error(response.status);
      return response.text();
    });
  }

  function copied(button) {
    const code = button.parentNode.querySelector("pre");
    switch (button.dataset.copy) {
      case "markdown": return copyLater(fetched("markdown"));
      case "history": return copyLater(fetched("download"));
      case "link": return copy(button.dataset.text);
      case "dialogue": return copy(labelled(conversation(button.closest(".dialogue"))));
      default: return copy(code ? code.textContent : labelled(conversation(document.getElementById("turns") || document)));
    }
  }

  function copyBySelection(text) {
    const area = document.createElement("textarea");
    area.value = text;
    area.setAttribute("readonly", "");
    area.className = "visually-hidden";
    document.body.appendChild(area);
    area.select();
    area.setSelectionRange(0, text.length);
    const copied = document.execCommand("copy");
    document.body.removeChild(area);
    if (!copied) throw new Error("not copied");
  }

  function flash(button, text) {
    const before = button.dataset.label || button.textContent || texts.copy;
    button.dataset.label = before;
    button.textContent = text;
    clearTimeout(button.timer);
    button.timer = setTimeout(function () { button.textContent = before; }, 1600);
  }

  document.addEventListener("click", function (event) {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.id === "close") {
      window.WeixinJSBridge.call("closeWindow");
    } else if (button.classList.contains("copy")) {
      copied(button).then(
        function () { flash(button, texts.copied); },
        function () { flash(button, texts.copyFailed); }
      );
    }
  });

  // Copying needs a script, so a script adds the buttons to code.
  function equip(within) {
    within.querySelectorAll(".code").forEach(function (code) {
      if (code.lastElementChild.nodeName === "BUTTON") return;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "copy";
      button.textContent = texts.copy;
      code.appendChild(button);
    });
  }
  function equipAll(within) {
    const all = document.getElementById("copy-all");
    if (all) all.hidden = !document.querySelector(".answer:not(:empty)");
    equip(within);
  }
  window.wxgptd = Object.assign(window.wxgptd || {}, { equip: equipAll });
  equipAll(document);

  function canClose() {
    const close = document.getElementById("close");
    if (close) close.hidden = false;
  }
  if (window.WeixinJSBridge) canClose();
  else document.addEventListener("WeixinJSBridgeReady", canClose);
})();
