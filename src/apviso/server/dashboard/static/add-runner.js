// The token is on this page alone. From here on the page goes by the address that says what becomes of it, and asks before it is left.
const token = document.querySelector("#token[data-address]");
const isWaiting = () => document.querySelector("#arrival[data-waiting]") !== null;
if (token) {
  history.replaceState(null, "", token.dataset.address);
  addEventListener("beforeunload", (leaving) => isWaiting() && leaving.preventDefault());
  document.addEventListener("refreshed", () => isWaiting() || token.remove());
}
