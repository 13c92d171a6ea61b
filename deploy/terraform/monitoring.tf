resource "azurerm_log_analytics_workspace" "main" {
  name                = "log-${local.name}"
  resource_group_name = azurerm_resource_group.main.name
  location            = azurerm_resource_group.main.location
  sku                 = "PerGB2018"
  retention_in_days   = 30
}

resource "azurerm_monitor_action_group" "main" {
  name                = "ag-${local.name}"
  resource_group_name = azurerm_resource_group.main.name
  short_name          = substr(local.shortname, 0, 12)

  email_receiver {
    name          = "operators"
    email_address = var.alert_email
  }
}

# telemetryd's log has a line for each request with its status and duration; the environment brings it here.
locals {
  requests = <<-KQL
    ContainerAppConsoleLogs_CL
    | where ContainerAppName_s == "${azurerm_container_app.telemetryd.name}"
    | extend line = parse_json(Log_s)
    | where line.msg == "request"
  KQL

  alerts = {
    failures = {
      severity = 1
      what     = "More than 1 % of the answers are 5xx"
      query    = "${local.requests}| summarize failed = countif(toint(line.status) >= 500), answers = count() | where answers > 20 and failed * 100 > answers"
    }
    slow = {
      severity = 2
      what     = "The 99th percentile of the durations is over 2 s"
      query    = "${local.requests}| summarize p99 = percentile(todouble(line.durationMs), 99), answers = count() | where answers > 20 and p99 > 2000"
    }
    credentials = {
      severity = 1
      what     = "There is no access token for Azure"
      query    = <<-KQL
        ContainerAppConsoleLogs_CL
        | where ContainerAppName_s == "${azurerm_container_app.telemetryd.name}"
        | where parse_json(Log_s).msg == "no access token for Azure"
      KQL
    }
  }
}

resource "azurerm_monitor_scheduled_query_rules_alert_v2" "requests" {
  for_each = local.alerts

  name                 = "${local.name}-${each.key}"
  display_name         = each.value.what
  resource_group_name  = azurerm_resource_group.main.name
  location             = azurerm_resource_group.main.location
  scopes               = [azurerm_log_analytics_workspace.main.id]
  severity             = each.value.severity
  evaluation_frequency = "PT5M"
  window_duration      = "PT5M"

  criteria {
    query                   = each.value.query
    time_aggregation_method = "Count"
    operator                = "GreaterThan"
    threshold               = 0
  }

  action {
    action_groups = [azurerm_monitor_action_group.main.id]
  }
}

resource "azurerm_monitor_metric_alert" "throttled" {
  name                = "${local.name}-throttled"
  resource_group_name = azurerm_resource_group.main.name
  scopes              = [azurerm_cosmosdb_account.main.id]
  description         = "Cosmos DB answers 429: the container needs more throughput"
  severity            = 2
  frequency           = "PT5M"
  window_size         = "PT15M"

  criteria {
    metric_namespace = "Microsoft.DocumentDB/databaseAccounts"
    metric_name      = "TotalRequests"
    aggregation      = "Count"
    operator         = "GreaterThan"
    threshold        = 100

    dimension {
      name     = "StatusCode"
      operator = "Include"
      values   = ["429"]
    }
  }

  action {
    action_group_id = azurerm_monitor_action_group.main.id
  }
}
