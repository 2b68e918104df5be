// Prints the instruction set that the kernels of this build would use here.
#include <cstdio>

#include "common/isa.h"

int main() { std::puts(pyvqa::isa_name().c_str()); }
