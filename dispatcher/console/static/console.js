// Small things that the browser does by itself.
window.ppInsert = (id, text) => {
  const editor = getElement(id)?.editor;
  if (!editor) return;
  editor.dispatch(editor.state.replaceSelection(text));
  editor.focus();
};

// What the code editor lacks for assistive technology: its name, and a place to scroll from the keyboard.
const nameEditors = () => {
  for (const editor of document.querySelectorAll(".nicegui-codemirror[aria-label]")) {
    const content = editor.querySelector(".cm-content:not([aria-label])");
    if (!content) continue;
    content.setAttribute("aria-label", editor.getAttribute("aria-label"));
    editor.querySelector(".cm-scroller")?.setAttribute("tabindex", "0");
  }
};
document.addEventListener("DOMContentLoaded", () => {
  new MutationObserver(nameEditors).observe(document.body, { childList: true, subtree: true });
});

// "/" goes to the search of the bar from wherever nothing is being written.
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  const at = event.target;
  if (at.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName)) return;
  event.preventDefault();
  document.getElementById("find")?.focus();
});

// On a narrow screen the bar scrolls: the page one is on shall be in sight.
const showHere = () => {
  const here = document.querySelector(".nav .here");
  const box = here?.closest(".nav-box, .nav");
  if (!box) return setTimeout(showHere, 50);
  for (const frame of document.querySelectorAll(".nav, .nav-box"))
    frame.scrollLeft = Math.max(0, here.offsetLeft - (frame.clientWidth - here.offsetWidth) / 2);
};
if (!location.pathname.startsWith("/sign-")) showHere();

// Facts go into the editor by a click; the field above them narrows the list.
document.addEventListener("click", (event) => {
  const fact = event.target.closest?.(".fact");
  if (fact) window.ppInsert(Number(fact.closest("[data-editor]").dataset.editor), fact.dataset.fact);
});
document.addEventListener("input", (event) => {
  if (event.target.id !== "find-fact") return;
  const wanted = event.target.value.trim().toLowerCase();
  for (const fact of document.querySelectorAll(".fact"))
    fact.hidden = !fact.textContent.toLowerCase().includes(wanted);
});
