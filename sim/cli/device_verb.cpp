// memwall device: what a device is, and what it does to the simplest loads.

#include <fmt/core.h>

#include "base/json_reader.h"
#include "cli/options.h"
#include "cli/verbs.h"
#include "device/floorplan.h"
#include "device/reader.h"
#include "device/show.h"

namespace memwall::cli {

int device_verb(std::vector<std::string> arguments) {
    CLI::App app("Devices: list, show, graph, probe.", "memwall device");
    app.require_subcommand(1);
    std::string name, out, only, json;
    std::vector<std::string> sets;
    bool dot = false, svg = false;
    auto* list = app.add_subcommand("list", "names and descriptions");
    auto* show = app.add_subcommand("show", "every number with its unit, kind and source, and what follows from them");
    auto* graph = app.add_subcommand("graph", "the floorplan as Graphviz or SVG");
    auto* probe = app.add_subcommand(
        "probe", "capacity, latency and bandwidth of each level, simulated, beside published measurements");
    for (auto* sub : {show, graph, probe}) {
        sub->add_option("device", name, "device by name or path")->required();
        sub->add_option("--set", sets, "/json/pointer=value")->allow_extra_args(false);
    }
    graph->add_flag("--dot", dot, "Graphviz source (the default)");
    graph->add_flag("--svg", svg, "a drawing of die and package");
    graph->add_option("--out", out, "file instead of standard output");
    probe->add_option("--only", only, "only the probes whose name contains this");
    probe->add_option("--json", json,
                      "also write the lines to a file, or - for standard output and nothing else there");
    if (const auto status = parse(app, std::move(arguments))) return *status;

    const ConfigDirs configs = find_configs();
    if (list->parsed()) {
        fmt::print("{}", device::list_text(configs.devices));
        return 0;
    }
    if (show->parsed()) {
        fmt::print("{}", device::show_text(device::read_description(name, configs.devices, sets)));
        return 0;
    }
    if (probe->parsed()) return probe_verb(name, sets, only, json);
    if (dot && svg) throw InputError("memwall device graph", "both --dot and --svg", "one of them");
    const device::Floorplan floorplan(device::load_device(name, configs.devices, sets));
    const std::string text = svg ? floorplan.to_svg() : floorplan.to_dot();
    if (out.empty()) {
        fmt::print("{}", text);
    } else {
        atomic_write(out, text);
    }
    return 0;
}

}  // namespace memwall::cli
