// memwall-measure: see --help.

#include <cstdio>
#include <exception>

#include "record.h"
#include "run.h"

namespace {

using namespace memwall::measure;

int list(const Arguments& arguments) {
    const Cases cases = chosen_cases(arguments);
    double total_ms = 0;
    for (const Case& c : cases) {
        std::printf("%s\n", c.id().c_str());
        total_ms += c.gpu_ms;
    }
    std::printf("%zu cases, about %.0f s of GPU time\n", cases.size(), total_ms / 1e3);
    return 0;
}

int run(const std::string& program, const std::vector<std::string>& words) {
    const Arguments arguments = parse_arguments(words);
    if (arguments.help) {
        std::fputs(help_text().c_str(), stdout);
        return 0;
    }
    if (arguments.list) return list(arguments);
    if (arguments.worker) return work(arguments);
    (void)chosen_cases(arguments);  // a pattern that fits nothing is told before a GPU is looked for
    return supervise(program, words);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run(argv[0], {argv + 1, argv + argc});
    } catch (const InputError& error) {
        std::fprintf(stderr, "memwall-measure: %s\n", error.what());
        return 2;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "memwall-measure: %s\n", error.what());
        return 1;
    }
}
