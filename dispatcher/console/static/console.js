// Small things that the browser does by itself.
window.ppInsert = (id, text) => {
  const editor = getElement(id)?.editor;
  if (!editor) return;
  editor.dispatch(editor.state.replaceSelection(text));
  editor.focus();
};
