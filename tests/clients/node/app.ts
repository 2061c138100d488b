// An app of somebody who has nothing but the API document. Told our address and a key, it records a call.

import createClient from "openapi-fetch";
import type { components, paths } from "./ledger.js"; // made by openapi-typescript

declare const process: { argv: string[] };

type Session = components["schemas"]["SessionResponse"];

const [baseUrl = "", key = ""] = process.argv.slice(2);
const ledger = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${key}` } });

const nameOf: Record<Session["state"], string> = {
  requested: "asked for",
  unanswered: "in doubt",
  refused: "refused",
  accepted: "accepted",
  started: "running",
  stopped: "over",
  failed: "failed",
};

// Nothing but the call has to be named.
const started = await ledger.POST("/v1/sessions", {
  params: { header: { "Idempotency-Key": "once" } },
  body: { call_sid: "v3:call-1", labels: { team: "fraud" } },
});
if (started.error) throw new Error(started.error.title);
const path = { session_id: started.data.id };

const stopped = await ledger.POST("/v1/sessions/{session_id}/stop", { params: { path } });
if (stopped.error) throw new Error(stopped.error.title);

const shown = await ledger.GET("/v1/sessions/{session_id}", { params: { path } });
if (shown.error) throw new Error(shown.error.title);

const listed = await ledger.GET("/v1/sessions", {
  params: { query: { label: ["team:fraud"], call_sid: "v3:call-1", limit: 10 } },
});
if (listed.error) throw new Error(listed.error.title);

const refused = await ledger.POST("/v1/sessions", { body: { call_sid: "v3:call-2", reference: "" } });

console.log(
  JSON.stringify({
    state: nameOf[started.data.state],
    location: started.response.headers.get("Location"),
    stop_requested_by: stopped.data.stop_requested_by,
    first: shown.data.timeline[0]?.state,
    listed: listed.data.sessions.map((session) => session.id),
    problem: refused.error?.type,
    wrong: refused.error?.errors?.map((field) => field.pointer),
  }),
);

// What a compiler has to refuse, so that somebody notices before a call is not recorded.
export async function wrong(): Promise<void> {
  // @ts-expect-error the call has to be named
  await ledger.POST("/v1/sessions", { body: {} });
  // @ts-expect-error there is no such track
  await ledger.POST("/v1/sessions", { body: { call_sid: "v3:call-1", track: "both" } });
  // @ts-expect-error there is no such route
  await ledger.GET("/v1/recordings");
  // @ts-expect-error it may be null
  const sid: string = started.data!.siprec_sid;
  void sid;
}
