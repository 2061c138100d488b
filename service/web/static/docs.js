"use strict";

window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  docExpansion: "list",
  defaultModelRendering: "model", // with what is said of each field; "Try it out" shows the example
  defaultModelExpandDepth: 1,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  validatorUrl: null, // the default asks a server elsewhere
});
