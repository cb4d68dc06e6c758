"""JavaScript of the stage."""

from __future__ import annotations

HEAD = """<script>
// Each frame takes the height that the page in it reports; other senders are ignored. While an
// example is played, the window follows the current step of the first frame shown, until a person
// scrolls.
{
  let free = false, at = -1;
  const steps = {};
  for (const name of ["wheel", "touchmove", "keydown"]) {
    addEventListener(name, () => { free = true; }, {passive: true});
  }
  addEventListener("click", (event) => {
    if (event.target.closest && event.target.closest("#play, #next")) { free = false; at = -1; }
  });
  const follow = (frame, step) => {
    if (free || step === at || !document.querySelector("[data-playing]")) return;
    at = step;
    const strip = document.querySelector(".ts-sticky");
    const top = frame.getBoundingClientRect().top + scrollY + step;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    scrollTo({top: top - strip.offsetHeight - 16, behavior: calm ? "auto" : "smooth"});
  };
  addEventListener("message", (event) => {
    const {trisealHeight: height, trisealStep: step} = event.data || {};
    if (!Number.isFinite(height)) return;
    const frames = [...document.querySelectorAll("iframe[data-agent]")];
    const frame = frames.find((each) => each.contentWindow === event.source);
    if (!frame || new URL(frame.src).origin !== event.origin) return;
    const most = innerWidth > 720 ? 6000 : 3120;  // a longer page scrolls in its frame
    frame.style.height = Math.min(Math.max(Math.ceil(height), 300), most) + "px";
    const shown = frames.find((each) => getComputedStyle(each).visibility === "visible");
    if (frame === shown && step >= 0 && step <= 6000) follow(frame, step);
  });
}
// Another application in the address, by the Back button or typed: show that one.
addEventListener("hashchange", () => location.reload());
{
  let end = true, top = 0;
  const keep = () => {
    // The log follows its newest message unless it has been scrolled back.
    const log = document.querySelector(".ts-log");
    if (log && !log.dataset.followed) {
      log.dataset.followed = "yes";
      log.scrollTop = end ? log.scrollHeight : top;
      log.addEventListener("scroll", () => {
        top = log.scrollTop;
        end = top + log.clientHeight >= log.scrollHeight - 12;
      });
    }
  };
  const options = {childList: true, subtree: true, characterData: true};
  new MutationObserver(keep).observe(document.documentElement, options);
}
</script>"""

FRAGMENT = "(state) => [state, location.hash]"
"""Passes the fragment of the address to the first handler; it is never part of a request's URL."""
ADDRESS = """(fragment) => {
  if (fragment && fragment !== location.hash) {
    history.pushState(null, "", location.pathname + location.search + fragment);
  }
}"""
"""Sets the fragment; the Back button then leads to the application before."""
