// The theme gives the buttons that unfold a chapter in the side bar no name for a screen reader.
document.querySelectorAll(".bd-links summary").forEach(function (summary) {
  var link = summary.parentElement.parentElement.querySelector("a");
  summary.setAttribute("aria-label", "Sections of " + (link ? link.textContent.trim() : "this chapter"));
});
