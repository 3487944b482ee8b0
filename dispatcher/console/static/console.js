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
