"""PLCs that speak real OPC UA and Modbus, for the demo and the tests."""
