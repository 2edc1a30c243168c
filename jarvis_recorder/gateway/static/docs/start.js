// Whoever is logged in on the dashboard is so here.
const ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#document",
  deepLinking: true,
  validatorUrl: null,
  onComplete() {
    const token = localStorage.getItem("jarvis.token");
    if (token) ui.preauthorizeApiKey("token", token);
  },
});
