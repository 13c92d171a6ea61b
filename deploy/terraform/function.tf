# Where the pipeline runs: a custom handler that takes events from the Event Hub into Cosmos DB and the Data Lake. Its code is deployed apart.
resource "azurerm_service_plan" "pipeline" {
  name                = "plan-${local.name}"
  resource_group_name = azurerm_resource_group.main.name
  location            = azurerm_resource_group.main.location
  os_type             = "Linux"
  sku_name            = "B1"
}

resource "azurerm_linux_function_app" "pipeline" {
  name                            = "func-${local.name}-${local.unique}"
  resource_group_name             = azurerm_resource_group.main.name
  location                        = azurerm_resource_group.main.location
  service_plan_id                 = azurerm_service_plan.pipeline.id
  storage_account_name            = azurerm_storage_account.function.name
  storage_uses_managed_identity   = true
  key_vault_reference_identity_id = azurerm_user_assigned_identity.pipeline.id
  https_only                      = true

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.pipeline.id]
  }

  site_config {
    always_on           = true
    minimum_tls_version = "1.2"

    application_stack {
      use_custom_runtime = true
    }
  }

  app_settings = {
    "AzureWebJobsStorage__credential"   = "managedidentity"
    "AzureWebJobsStorage__clientId"     = azurerm_user_assigned_identity.pipeline.client_id
    "EventHub__fullyQualifiedNamespace" = "${azurerm_eventhub_namespace.main.name}.servicebus.windows.net"
    "EventHub__credential"              = "managedidentity"
    "EventHub__clientId"                = azurerm_user_assigned_identity.pipeline.client_id
    "CosmosEndpoint"                    = azurerm_cosmosdb_account.main.endpoint
    "LakeEndpoint"                      = azurerm_storage_account.lake.primary_dfs_endpoint
  }
}
