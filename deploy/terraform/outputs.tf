# The variables of README.md's "Connect it with a managed identity", for a telemetryd elsewhere; they are no secrets.

output "COSMOS_ENDPOINT" {
  value = azurerm_cosmosdb_account.main.endpoint
}

output "COSMOS_DATABASE" {
  value = azurerm_cosmosdb_sql_database.iot.name
}

output "COSMOS_CONTAINER" {
  value = azurerm_cosmosdb_sql_container.telemetry.name
}

output "IOT_HUB_HOSTNAME" {
  value = azurerm_iothub.main.hostname
}

output "AZURE_CLIENT_ID" {
  value = azurerm_user_assigned_identity.telemetryd.client_id
}

output "url" {
  description = "Where telemetryd is."
  value       = "https://${azurerm_container_app.telemetryd.ingress[0].fqdn}"
}
