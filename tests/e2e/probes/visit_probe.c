/* visit_probe ADDRESS: connects and prints whom the origin saw. */
#include "visit.h"

int main(int argc, char **argv)
{
    return argc == 2 ? visit(argv[1]) : 2;
}
