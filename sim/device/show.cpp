#include "device/show.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <numeric>
#include <sstream>

#include "base/error.h"

namespace memwall::device {
namespace {

constexpr std::size_t kLineWidth = 160, kLongestValue = 24;

/// Mean latencies of the hops, by kind; those of the SM side weighted by SMs.
std::array<double, 8> mean_hops_ns(const Device& device, const Floorplan& plan) {
    std::array<double, 8> sum{}, count{};
    const auto note = [&](const Edge& edge) {
        sum[static_cast<std::size_t>(edge.kind)] += edge.latency.ns();
        count[static_cast<std::size_t>(edge.kind)] += 1;
    };
    for (int sm = 0; sm < device.sms(); ++sm) {
        const int crossbar = plan.id(NodeKind::crossbar, plan.partition_of_sm(sm));
        for (const Hop& hop : plan.route(plan.id(NodeKind::sm, sm), crossbar)) note(hop.edge);
    }
    for (const Hop& hop : plan.edges()) {
        if (hop.edge.kind >= EdgeKind::crossbar_slice) note(hop.edge);
    }
    for (std::size_t kind = 0; kind < sum.size(); ++kind) sum[kind] /= count[kind];
    return sum;
}

/// The activates of a gang, tRCD + tCL + the bursts of one fill, all of one run, in whole command clocks.
double dram_ns(const Device& d) {
    const double clock_ns = 1000.0 / d.hbm.command_mhz();
    const auto clocks = [&](double ns) { return std::ceil(ns / clock_ns - 1e-9); };
    const int bursts = d.l2.fill_bytes / d.hbm.burst_bytes;
    const double activates = (d.hbm.run_bank_groups - 1) * clocks(d.hbm.trrds_ns);
    return (activates + clocks(d.hbm.trcdrd_ns) + clocks(d.hbm.tcl_ns) + (bursts - 1) * d.hbm.run_pitch() + d.hbm.nbl) *
           clock_ns;
}

/// `text` in lines of at most `width`, continued under its first letter.
std::string wrapped(const std::string& text, std::size_t indent, std::size_t width) {
    std::istringstream words(text);
    std::string out, word;
    std::size_t used = 0;
    while (words >> word) {
        if (used > 0 && used + 1 + word.size() > width) {
            out.append("\n").append(indent, ' ');
            used = 0;
        }
        if (used > 0) {
            out += ' ';
            ++used;
        }
        out += word;
        used += word.size();
    }
    return out;
}

/// "/sm" of "/sm/max_threads", and what stands below it.
std::string section_of(const std::string& pointer) {
    return pointer.substr(0, pointer.find('/', 1));
}
std::string name_of(const Entry& entry) {
    return entry.pointer.substr(section_of(entry.pointer).size() + 1);
}

void put_entries(std::string& out, const std::vector<Entry>& entries) {
    std::size_t name = 0, value = 0, unit = 0;
    for (const Entry& e : entries) {
        name = std::max(name, name_of(e).size());
        value = std::max(value, std::min(e.value.size(), kLongestValue));
        unit = std::max(unit, e.unit.size());
    }
    constexpr std::size_t kKind = 8;
    const std::size_t indent = 2 + name + 2 + value + 2 + unit + 2 + kKind + 2;
    std::string section;
    for (const Entry& e : entries) {
        if (section_of(e.pointer) != section) {
            section = section_of(e.pointer);
            out += "\n" + section + "\n";
        }
        const std::string rest = wrapped(e.source, indent, kLineWidth > indent + 40 ? kLineWidth - indent : 40);
        if (e.value.size() > value) {  // a long text or list has a line of its own
            out += fmt::format("  {:<{}}  {}\n{}{:<{}}  {:<{}}  {}\n", name_of(e), name, e.value,
                               std::string(2 + name + 2 + value + 2, ' '), e.unit, unit, e.kind, kKind, rest);
        } else {
            out += fmt::format("  {:<{}}  {:>{}}  {:<{}}  {:<{}}  {}\n", name_of(e), name, e.value, value, e.unit, unit,
                               e.kind, kKind, rest);
        }
    }
}

void put_derived(std::string& out, const Device& d) {
    const auto tflops = [&](double per_sm) { return d.sms() * per_sm * d.clocks.sm_peak_mhz * 1e-6; };
    const double l2_bytes = static_cast<double>(d.l2.slices) * d.l2.slice_bytes;
    const double ridge = tflops(d.tensor.flops_per_cycle_16bit) * 1000 / d.hbm.peak_gbps();
    out += "\nderived\n";
    const auto line = [&](const std::string& name, const std::string& value) {
        out += fmt::format("  {:<34}  {}\n", name, value);
    };
    line("SMs", fmt::format("{} in {} GPCs, {} L2 partitions", d.sms(), d.gpcs(), 2));
    line("memory, peak", fmt::format("{:.1f} GB/s: {} pseudo-channels of {:.2f}", d.hbm.peak_gbps(),
                                     d.hbm.pseudo_channels(), d.hbm.pseudo_channel_gbps()));
    line("L2", fmt::format("{:.1f} MiB: 2 partitions of {} slices of {:g} KiB", l2_bytes / (1 << 20), d.l2.slices / 2,
                           d.l2.slice_bytes / 1024.0));
    line(
        "tensor cores, 16 bit / fp8 / tf32",
        fmt::format("{:.1f} / {:.1f} / {:.1f} TFLOP/s, dense, at {:g} MHz", tflops(d.tensor.flops_per_cycle_16bit),
                    tflops(d.tensor.flops_per_cycle_fp8), tflops(d.tensor.flops_per_cycle_tf32), d.clocks.sm_peak_mhz));
    line("vector units, fp32",
         fmt::format("{:.1f} TFLOP/s at {:g} MHz", d.sms() * 2 * d.sm.fp32_ops_per_cycle * d.clocks.sm_mhz * 1e-6,
                     d.clocks.sm_mhz));
    line("ridge of the roofline, 16 bit", fmt::format("{:.0f} FLOP per byte", ridge));
}

void put_flows(std::string& out, const Device& d, const Floorplan& plan) {
    const auto ids = [&](NodeKind kind, int count) {
        std::vector<int> all(static_cast<std::size_t>(count));
        std::iota(all.begin(), all.end(), plan.id(kind, 0));
        return all;
    };
    const auto sms = ids(NodeKind::sm, d.sms()), slices = ids(NodeKind::slice, d.l2.slices);
    const auto stacks = ids(NodeKind::stack, d.hbm.stacks);
    const auto middle = slices.begin() + d.l2.slices / 2;
    const std::vector<int> half0(slices.begin(), middle), half1(middle, slices.end());
    const auto line = [&](const char* name, double bytes_per_cycle) {
        out += fmt::format("  {:<46}  {:8.1f} B per SM cycle  {:8.2f} TB/s\n", name, bytes_per_cycle,
                           bytes_per_cycle * d.clocks.sm_mhz * 1e-6);
    };
    out += fmt::format("\nlargest flows (max-flow over the floorplan, at {:g} MHz)\n", d.clocks.sm_mhz);
    line("all slices to all SMs", plan.max_flow(slices, sms, true));
    line("all SMs to all slices, headers included", plan.max_flow(sms, slices, false));
    line("all slices to one SM", plan.max_flow(slices, {sms.front()}, true));
    line("one SM to all slices", plan.max_flow({sms.front()}, slices, false));
    line("bisection: partition 0 to partition 1", plan.max_flow(half0, half1, true));
    line("all stacks to all SMs (wires; the pins bind)", plan.max_flow(stacks, sms, true));
}

void put_budgets(std::string& out, const Device& d, const Floorplan& plan) {
    const std::pair<Reach, const char*> reaches[] = {{Reach::near_l2, "L2 hit in the SM's own partition"},
                                                     {Reach::far_l2, "L2 hit in the other partition"},
                                                     {Reach::near_memory, "memory of the own partition"},
                                                     {Reach::far_memory, "memory of the other partition"}};
    for (const auto& [reach, name] : reaches) {
        out += fmt::format("\nan idle load: {} (mean over the chip)\n", name);
        const auto budget = latency_budget(d, plan, reach);
        const auto line = [&](const std::string& what, double ns) {
            out += fmt::format("  {:<46}  {:8.2f} ns  {:8.1f} SM cycles\n", what, ns, ns * d.clocks.sm_mhz * 1e-3);
        };
        for (const BudgetItem& item : budget) line(item.what, item.ns);
        line("sum", total_ns(budget));
    }
}

}  // namespace

std::vector<BudgetItem> latency_budget(const Device& d, const Floorplan& plan, Reach reach) {
    const auto hops = mean_hops_ns(d, plan);
    const auto hop = [&](EdgeKind kind) { return hops[static_cast<std::size_t>(kind)]; };
    const double cycle_ns = d.sm_clock().period_ps() * 1e-3;
    const bool far = reach == Reach::far_l2 || reach == Reach::far_memory;
    const bool memory = reach == Reach::near_memory || reach == Reach::far_memory;
    std::vector<BudgetItem> budget{{"issue, to the SM's port", d.sm.load_issue_cycles * cycle_ns},
                                   {"SM to TPC", hop(EdgeKind::sm_tpc)},
                                   {"TPC to GPC", hop(EdgeKind::tpc_gpc)},
                                   {"GPC to crossbar", hop(EdgeKind::gpc_crossbar)},
                                   {"crossbar to slice", hop(EdgeKind::crossbar_slice)},
                                   {"slice: look-up", d.l2.hit_ns}};
    const auto add = [&](const char* what, double ns) { budget.push_back({what, ns}); };
    if (far) {
        add("link to the other partition", hop(EdgeKind::partition_link));
        add("home slice: look-up", d.l2.hit_ns);
    }
    if (memory) {
        add("slice: miss", d.l2.miss_ns);
        add("slice to controller", hop(EdgeKind::slice_controller));
        add("controller to PHY", hop(EdgeKind::controller_interposer));
        add("PHY to stack", hop(EdgeKind::interposer_stack));
        add("controller", d.hbm.controller_ns);
        add("DRAM: activates + tRCD + tCL + bursts of a fill", dram_ns(d));
        add("stack to PHY", hop(EdgeKind::interposer_stack));
        add("PHY to controller", hop(EdgeKind::controller_interposer));
        add("controller to slice", hop(EdgeKind::slice_controller));
        add("slice: fill", d.l2.fill_ns);
    }
    if (far && memory) add("home slice: fill written, request replayed", d.l2.fill_replay_ns);
    if (far) add("link back", hop(EdgeKind::partition_link));
    add("slice to crossbar", hop(EdgeKind::crossbar_slice));
    add("crossbar to GPC", hop(EdgeKind::gpc_crossbar));
    add("GPC to TPC", hop(EdgeKind::tpc_gpc));
    add("TPC to SM", hop(EdgeKind::sm_tpc));
    add("SM's port to the register", d.sm.load_return_cycles * cycle_ns);
    return budget;
}

double total_ns(const std::vector<BudgetItem>& budget) {
    return std::accumulate(budget.begin(), budget.end(), 0.0,
                           [](double sum, const BudgetItem& item) { return sum + item.ns; });
}

std::string list_text(const std::vector<std::string>& config_dirs) {
    const auto names = list_devices(config_dirs);
    std::size_t width = 0;
    for (const auto& name : names) width = std::max(width, name.size());
    std::string out;
    for (const auto& name : names) {
        std::string what;
        try {
            what = load_device(name, config_dirs, {}).description;
        } catch (const InputError& e) {
            what = std::string("cannot be read: ") + e.what();
        }
        out += fmt::format("{:<{}}  {}\n", name, width, what);
    }
    return out;
}

std::string show_text(const Description& description) {
    const Device& d = description.device;
    const Floorplan plan(d);
    std::string out = fmt::format("{}\n{}\n", d.name, d.description);
    put_entries(out, description.entries);
    put_derived(out, d);
    put_flows(out, d, plan);
    put_budgets(out, d, plan);
    return out;
}

}  // namespace memwall::device
