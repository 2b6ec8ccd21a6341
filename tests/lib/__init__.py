"""The end-to-end harness: namespaces, real servers, hostile ones, a sniffer and TAP."""
