/** The drawing board's page: connects, and shows `Draw`. */

import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { createClient, gatewayUrl } from "zocket";
import { ZocketProvider } from "zocket/react";

import type { Actors } from "./actors.ts";
import { Draw } from "./Draw.tsx";

const client = createClient<Actors>({ url: await gatewayUrl() });

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <ZocketProvider client={client}>
      <Draw />
    </ZocketProvider>
  </StrictMode>,
);
