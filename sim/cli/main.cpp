#include "cli/verbs.h"

int main(int argc, char** argv) {
    return memwall::cli::main_of(argc, argv);
}
