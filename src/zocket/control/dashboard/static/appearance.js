// Runs before the first paint, so that nobody sees the other colours first. A choice that was made is kept.
{
  let chosen = null;
  try {
    chosen = localStorage.getItem("zocket-appearance");
  } catch {
    // A browser that keeps nothing follows the system.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.appearance = chosen;
}
