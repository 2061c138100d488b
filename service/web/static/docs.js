"use strict";

// Tried requests go to where this page came from, whatever address the document names to others.
const here = new URL(".", location.href).href.replace(/\/$/, "");

const toHere = () => ({
  statePlugins: {
    spec: {
      wrapActions: {
        updateJsonSpec: (update) => (json) => update({ ...json, servers: [{ url: here }] }),
      },
    },
  },
});

// What is shown is copied into chats and tickets: the key must not be in it.
const withoutKey = () => ({
  wrapComponents: {
    curl: (Curl, { React }) => (props) =>
      React.createElement(Curl, {
        ...props,
        request: props.request.update("headers", (headers) =>
          headers && headers.map((value, name) => (/^authorization$/i.test(name) ? "Bearer YOUR_API_KEY" : value)),
        ),
      }),
  },
});

// A dozen answers to each operation: their statuses in one line, the rest on request, or once one came.
const folded = () => ({
  wrapComponents: {
    responses: (Responses, { React }) => (props) =>
      React.createElement(
        "details",
        { className: "answers", open: Boolean(props.tryItOutResponse) },
        React.createElement("summary", null, `Responses: ${props.responses.keySeq().join(", ")}`),
        React.createElement(Responses, props),
      ),
  },
});

window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  docExpansion: "list",
  defaultModelExpandDepth: 2,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  plugins: [toHere, withoutKey, folded],
  validatorUrl: null, // the default asks a server elsewhere
});

// Swagger UI looks at the address only once, when the page is loaded.
addEventListener("hashchange", () => {
  window.ui.layoutActions.parseDeepLinkHash(decodeURIComponent(location.hash));
});
