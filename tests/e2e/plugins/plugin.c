/* A plugin that connects: load_probe loads it in every way. */
#include "../probes/visit.h"

int plugin_visit(const char *address);

__attribute__((visibility("default"))) int plugin_visit(const char *address)
{
    return visit(address);
}
