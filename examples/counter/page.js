/** The counter's page: shows the state, calls two methods. */

import { connect, gatewayUrl } from "/zocket.js";

import { attempt, showStatus } from "./ui.js";

const $ = (id) => document.getElementById(id);

const client = connect(await gatewayUrl());
const counter = client.actor("counter", "main");

showStatus(client, $("status"));

counter.state.subscribe(({ count, watching }) => {
  const shown = $("count");
  if (shown.textContent !== String(count)) {
    shown.textContent = count;
    shown.classList.remove("moved");
    void shown.offsetWidth; // so that the animation starts again
    shown.classList.add("moved");
  }
  $("watching").textContent = watching === 1 ? "Only you are watching" : `${watching} people are watching`;
});

$("more").addEventListener("click", () => attempt(counter.add({ amount: 1 })));
$("less").addEventListener("click", () => attempt(counter.add({ amount: -1 })));
$("reset").addEventListener("click", () => attempt(counter.reset()));
