// Streamlit's own key of the choice, by the path at which the tab was opened.
const themeKey = (path) => `stActiveTheme-${path}-v2`;

/** Writes the choice made in this tab for the paths of all pages. */
function spreadTheme(pages) {
  const opened = new URL(performance.getEntriesByType("navigation")[0].name).pathname;
  const chosen = localStorage.getItem(themeKey(opened));
  if (chosen === null) return;
  const base = opened.slice(0, opened.lastIndexOf("/") + 1);
  for (const page of pages) localStorage.setItem(themeKey(base + page), chosen);
}

export default function ({ data }) {
  spreadTheme(data);
  const leave = () => spreadTheme(data);
  addEventListener("pagehide", leave);
  return () => {
    removeEventListener("pagehide", leave);
    spreadTheme(data);
  };
}
