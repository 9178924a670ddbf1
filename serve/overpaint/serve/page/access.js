// The server's token: kept in this tab, brought by a link or asked for.

import { $, set } from "./dom.js";

export const token = () => sessionStorage.getItem("token");

/** Take the token of a link such as http://host:port/#token=TOKEN, and out of the address bar. */
export function takeFromLink() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!given) return;
  sessionStorage.setItem("token", given);
  history.replaceState(null, "", location.pathname);
}

/** Returns once somebody has typed one. */
export function ask() {
  const dialog = $("sign-in");
  const why = token() ? "That was not it. " : "";
  set($("sign-in-why"), {
    textContent: `${why}Whoever started it has it. It stays in this tab until you close it.`,
  });
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    const take = () => {
      sessionStorage.setItem("token", $("token").value.trim());
      resolve();
    };
    dialog.addEventListener("close", take, { once: true });
  });
}
