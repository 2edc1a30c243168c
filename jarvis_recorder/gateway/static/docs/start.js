const directory = new URL("..", document.baseURI).pathname;
// As the dashboard names it: whoever is logged in there is so here.
const key = directory === "/" ? "jarvis.token" : `jarvis.token ${directory}`;
const ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#document",
  deepLinking: true,
  validatorUrl: null,
  onComplete() {
    const token = localStorage.getItem(key);
    if (token) ui.preauthorizeApiKey("token", token);
  },
});
