"""Rules to alert by and a dashboard, over what otelkafka measures; and a Prometheus that shows them at work.

- `rules.yml` the rules; `rules_test.yml` what `promtool test rules` holds them to; `prometheus.yml` a configuration
- `dashboard` makes `dashboard.json`, for Grafana
- `quick` rules and configuration sixty times as fast; `server` a real Prometheus; `burst` the life of an alert
"""
