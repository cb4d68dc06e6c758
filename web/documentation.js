"use strict";
// Names and keyboard access that the viewers leave out, also of what they draw later.
(() => {
  const complete = () => {
    for (const each of document.querySelectorAll("pre:not([tabindex])")) {
      if (each.scrollWidth > each.clientWidth || each.scrollHeight > each.clientHeight) {
        each.tabIndex = 0;
      }
    }
    document.querySelector("#servers")?.setAttribute("aria-label", "Server");
    for (const each of document.querySelectorAll(".examples-select-element")) {
      each.setAttribute("aria-label", "Example");
    }
    // The button around the link does the same.
    for (const each of document.querySelectorAll(".opblock-summary-control a[href]")) {
      each.removeAttribute("href");
    }
  };
  let waiting = 0;
  const later = () => {
    clearTimeout(waiting);
    waiting = setTimeout(complete, 100);
  };
  new MutationObserver(later).observe(document.querySelector("#api"), {
    childList: true,
    subtree: true,
  });
  addEventListener("resize", later);
})();
