// memwall device probe: the microbenchmarks of the memory pyramid, simulated, each beside what is published for the
// device.
//
// The lines are the first eight validation targets of the project's fact sheet (latency against footprint, L2 read rate
// against footprint, one buffer read by all, scale-up inside a GPC, HBM streams, partial lines, loaded latency, TMA)
// and the pyramid's idle latencies with their routes itemised. Published values are those of the device named; a line
// without one shows the simulation alone.

#include <fmt/core.h>

#include <cmath>
#include <cstdio>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json_reader.h"
#include "cli/simulation.h"
#include "cli/verbs.h"
#include "device/reader.h"
#include "device/show.h"

namespace memwall::cli {

namespace {

/// How a line's figure comes out of a run.
enum class Metric { cycles, ns, upper_ns, gbps, times_one, us };

struct Published {
    double value;
    const char* source;
};

struct Line {
    const char* target;
    std::string what, op;
    Metric metric;
    std::map<std::string, Published> published;  ///< by device
    std::string one = {};                        ///< times_one: the operation whose rate counts as one
};

constexpr const char* kHpmll = "HPMLL random_latency, H800 PCIe, 1755 MHz";
constexpr const char* kRrzeL2 = "RRZE gpu-l2-cache";
constexpr const char* kRrzeStream = "RRZE gpu-stream";
constexpr const char* kTek = "te42kyfo gpu-cache, H100 PCIe";
constexpr const char* kTospe = "GPGPU-Sim measurement notes, H100 PCIe";
constexpr const char* kTma = "HPMLL TMA, 114 CTAs, H800 PCIe";
constexpr const char* kQuack = "quack coalescing notes, H100 SXM5";

const char* unit_of(Metric metric) {
    switch (metric) {
        case Metric::cycles:
            return "cycles";
        case Metric::ns:
        case Metric::upper_ns:
            return "ns";
        case Metric::times_one:
            return "x one";
        case Metric::gbps:
            return "GB/s";
        default:
            return "us";
    }
}

/// The figure of a finished run.
double figure(const Simulated& s, Metric metric) {
    const auto& c = s.result.counters;
    switch (metric) {
        case Metric::cycles:
            return s.seen.chase.mean_cycles;
        case Metric::ns:
            return s.seen.chase.mean_cycles / s.run.sm_clock_mhz * 1e3;
        // The farther half of the accesses has its median here.
        case Metric::upper_ns:
            return s.seen.chase.p75_cycles / s.run.sm_clock_mhz * 1e3;
        case Metric::times_one:
        case Metric::gbps:
            return static_cast<double>(c.sm_read_bytes + c.sm_write_bytes) / s.result.time_us * 1e-3;
        default:
            return s.result.time_us;
    }
}

std::vector<Line> latency_lines() {
    std::vector<Line> lines;
    lines.push_back({"pyramid",
                     "shared memory",
                     "pointer_chase bytes=4096 access=shared",
                     Metric::cycles,
                     {{"h100-pcie", {29, "Luo et al. 2402.13499"}}, {"h100-sxm5", {29.0, "HPMLL re-run, H100 SXM5"}}}});
    lines.push_back({"pyramid",
                     "L1",
                     "pointer_chase bytes=65536 access=l1 accesses=2000",
                     Metric::cycles,
                     {{"h100-pcie", {32, kHpmll}}}});
    lines.push_back({"pyramid",
                     "distributed shared memory, cluster of 2",
                     "dsmem_chase cluster_size=2",
                     Metric::cycles,
                     {{"h100-pcie", {181, "HPMLL DSMEM, H800 PCIe"}}}});
    lines.push_back({"pyramid",
                     "TMA, L2 hit",
                     "pointer_chase bytes=2097152 stride=1024 access=tma",
                     Metric::cycles,
                     {{"h100-pcie", {369.1, kHpmll}}}});
    const struct {
        double mb, pcie, gh200;
    } points[] = {{1, 264, 280.7},      {5, 264.5, 280.4}, {10, 264.5, 280.3}, {19.5, 264.5, 280.4},
                  {25.7, 325.5, 280.3}, {30, 494.9, 0},    {36.6, 474.8, 0},   {48.2, 493.2, 0},
                  {61, 647.4, 0},       {119, 637.7, 0},   {256, 647, 0}};
    for (const auto& p : points) {
        Line line{
            "1 latency",
            fmt::format("random chase over {} MB", p.mb),
            fmt::format("pointer_chase bytes={} stride=1024", static_cast<std::int64_t>(p.mb * 1048576) / 2048 * 2048),
            Metric::cycles,
            {}};
        if (p.pcie > 0) line.published["h100-pcie"] = {p.pcie, kHpmll};
        lines.push_back(line);
    }
    return lines;
}

std::vector<Line> l2_lines() {
    std::vector<Line> lines;
    const struct {
        double mb, pcie, h200;
    } points[] = {{4, 7121.5, 10619.2}, {8, 7034.2, 10251.9}, {16.5, 6912.2, 9765.2}, {28, 6946.5, 9780},
                  {36, 6847.1, 9477.3}, {39.5, 5728.6, 9666}, {47, 3452.7, 7542.5},   {56.5, 2244.2, 5053.8},
                  {68, 2019.4, 4201.3}, {142, 1987.7, 3888.2}};
    for (const auto& p : points) {
        Line line{"2 L2 read",
                  fmt::format("distinct data, {} MB, again and again", p.mb),
                  fmt::format("stream bytes={} reads=1 writes=0 passes={} threads_per_cta=1024 ctas_per_sm=2",
                              static_cast<std::int64_t>(p.mb * 1048576), static_cast<int>(2048 / p.mb)),
                  Metric::gbps,
                  {}};
        line.published["h100-pcie"] = {p.pcie, kRrzeL2};
        line.published["h200-sxm"] = {p.h200, kRrzeL2};
        lines.push_back(line);
    }
    for (const auto& [mb, low] : std::vector<std::pair<double, double>>{{2, 8350}, {16, 8350}, {40, 3850}}) {
        lines.push_back({"3 one buffer",
                         fmt::format("all SMs read the same {} MB", mb),
                         fmt::format("read bytes={} passes={} shared=1 threads_per_cta=1024 ctas_per_sm=1",
                                     static_cast<std::int64_t>(mb * 1048576), mb < 4 ? 6 : 2),
                         Metric::gbps,
                         {{"h100-pcie", {low, kTek}}}});
    }
    return lines;
}

std::vector<Line> stream_lines() {
    std::vector<Line> lines;
    const auto add = [&](const std::string& what, const std::string& op, std::map<std::string, Published> published) {
        lines.push_back({"5 HBM streams", what, op, Metric::gbps, std::move(published)});
    };
    add("read, large", "read bytes=1073741824",
        {{"h100-sxm5", {3240, "fast.cu reduction"}}, {"h200-sxm", {3888, kRrzeL2}}, {"h100-pcie", {1961.8, kTospe}}});
    add("copy, large", "copy bytes=1073741824",
        {{"h100-sxm5", {2900, "BabelStream, Azure guide"}}, {"h200-sxm", {4010, "BabelStream, Azure guide"}}});
    add("triad, large", "stream bytes=1073741824 reads=2 writes=1",
        {{"h100-sxm5", {2970, "BabelStream, Azure guide"}}, {"h200-sxm", {4150, "BabelStream, Azure guide"}}});
    for (const auto& [threads, read] :
         std::vector<std::pair<int, double>>{{32, 96}, {128, 368}, {512, 1261}, {1024, 1942}}) {
        add(fmt::format("read, one element per thread, 2 CTAs of {} per SM", threads),
            fmt::format("read bytes=134217728 threads_per_cta={} ctas_per_sm=2", threads),
            {{"h100-pcie", {read, kRrzeStream}}});
    }
    add("store only, 2 CTAs of 1024", "write bytes=536870912 threads_per_cta=1024 ctas_per_sm=2",
        {{"h100-pcie", {2016, kRrzeStream}}});
    add("scale, 2 CTAs of 1024", "stream bytes=536870912 reads=1 writes=1 threads_per_cta=1024 ctas_per_sm=2",
        {{"h100-pcie", {1704, kRrzeStream}}});
    // The halves of a 128-byte line are filled apart: two sectors cost one fill in one half, two in different halves.
    lines.push_back({"6 partial lines",
                     "64 of every 64 bytes (useful)",
                     "read bytes=268435456",
                     Metric::gbps,
                     {{"h100-sxm5", {2890, kQuack}}}});
    lines.push_back({"6 partial lines",
                     "the first 64 of every 128 bytes (useful)",
                     "read bytes=268435456 pattern_bytes=64 pattern_stride=128",
                     Metric::gbps,
                     {{"h100-sxm5", {2748, kQuack}}}});
    lines.push_back({"6 partial lines",
                     "the first 32 of every 64 bytes (useful)",
                     "read bytes=268435456 pattern_bytes=32 pattern_stride=64",
                     Metric::gbps,
                     {{"h100-sxm5", {1589, kQuack}}}});
    return lines;
}

std::vector<Line> other_lines() {
    std::vector<Line> lines;
    for (const auto& [chains, cycles] : std::vector<std::pair<int, double>>{
             {114, 699}, {456, 893}, {912, 982}, {1824, 1006}, {3648, 1111}, {7296, 1265}}) {
        lines.push_back(
            {"7 loaded",
             fmt::format("{} chains of 128 bytes over 1 GB", chains),
             fmt::format("pointer_chase bytes=1073741824 stride=128 access_bytes=128 chains={} accesses=150", chains),
             Metric::cycles,
             {{"h100-pcie", {cycles, kTospe}}}});
    }
    for (const auto& [kb, gbps] :
         std::vector<std::pair<int, double>>{{1, 239.2}, {2, 453.5}, {4, 815.3}, {8, 1319.6}, {16, 1833.7}}) {
        lines.push_back({"8 TMA",
                         fmt::format("114 CTAs, one load of {} KB in flight", kb),
                         fmt::format("tma_read bytes=134217728 box_bytes={} ctas=114 in_flight=1", kb * 1024),
                         Metric::gbps,
                         {{"h100-pcie", {gbps, kTma}}}});
    }
    lines.push_back({"8 TMA",
                     "456 CTAs, one load of 16 KB in flight",
                     "tma_read bytes=268435456 box_bytes=16384 ctas=456 in_flight=1",
                     Metric::gbps,
                     {{"h100-pcie", {1960.7, "HPMLL TMA, 456 CTAs, H800 PCIe"}}}});
    lines.push_back({"8 TMA",
                     "114 CTAs, ring of 8 slots of 16 KB",
                     "tma_read bytes=268435456 box_bytes=16384 ctas=114 in_flight=8",
                     Metric::gbps,
                     {}});
    return lines;
}

/// Target 4: how the rate of one SM grows when its TPC, its CPC and its GPC join (L2-resident data).
std::vector<Line> scale_lines() {
    const struct {
        const char* what;
        const char* place;
        double read, write;
    } groups[] = {{"2 SMs of a TPC", "sms=2 within=gpc", 1.95, 2.00},
                  {"6 SMs of a CPC", "sms=6 within=gpc", 5.48, 4.57},
                  {"one SM of each TPC of a GPC (9)", "sms=9 within=gpc_tpcs", 7.75, 8.97},
                  {"a whole GPC (18)", "sms=18 within=gpc", 9.1, 12.4}};
    constexpr const char* kGnb = "GPUNetBench, H100 PCIe";
    const std::string shape = " bytes=4194304 passes=8 threads_per_cta=1024 ctas_per_sm=2 ";
    std::vector<Line> lines;
    for (const char* op : {"read", "write"}) {
        const bool read = std::string(op) == "read";
        lines.push_back(
            {"4 scale-up", fmt::format("{}s of one SM", op), op + shape + "sms=1 within=gpc", Metric::gbps, {}});
        for (const auto& group : groups) {
            lines.push_back({"4 scale-up",
                             fmt::format("{}s of {}", op, group.what),
                             op + shape + group.place,
                             Metric::times_one,
                             {{"h100-pcie", {read ? group.read : group.write, kGnb}}},
                             op + shape + "sms=1 within=gpc"});
        }
    }
    return lines;
}

void print_budgets(const device::Device& device) {
    const device::Floorplan floorplan(device);
    const std::pair<const char*, device::Reach> reaches[] = {{"near L2", device::Reach::near_l2},
                                                             {"far L2", device::Reach::far_l2},
                                                             {"near memory", device::Reach::near_memory},
                                                             {"far memory", device::Reach::far_memory}};
    fmt::print("\nroutes of an idle load, item by item (mean over the chip)\n");
    for (const auto& [name, reach] : reaches) {
        const auto budget = device::latency_budget(device, floorplan, reach);
        const double ns = device::total_ns(budget);
        fmt::print("  {:<12} {:7.1f} ns = {:6.1f} cycles:", name, ns, ns * device.clocks.sm_mhz * 1e-3);
        for (std::size_t i = 0; i < budget.size(); ++i)
            fmt::print("{} {} {:.1f}", i == 0 ? "" : ",", budget[i].what, budget[i].ns);
        fmt::print("\n");
    }
}

/// The bandwidth-latency curves, from idle to saturation: dependent loads by more and more warps, first of a line each,
/// then of eight. A far hit is seen once, before the line is copied: half of what the warps of one half read there is
/// near, so the upper half of the latencies tells.
std::vector<Line> curve_lines(int sms) {
    std::vector<Line> lines;
    const struct {
        double warps;  // per SM
        int bytes;     // that each loads
    } loads[] = {{0.5, 128}, {4, 128}, {16, 128}, {8, 1024}, {16, 1024}, {24, 1024}};
    for (const auto& load : loads) {
        const int chains = static_cast<int>(load.warps * sms);
        const auto of = [&load](int all) {
            return fmt::format("stride={0} access_bytes={0} chains={1} accesses={2}", load.bytes, all,
                               std::clamp(4'000'000 / load.bytes / all, 4, 100));
        };
        const std::string what = fmt::format("{} warps per SM, {} bytes each", load.warps, load.bytes);
        lines.push_back(
            {"curve near L2", what, "pointer_chase bytes=16777216 warm=near " + of(chains), Metric::ns, {}});
        lines.push_back({"curve far L2",
                         what + ", one half",
                         "pointer_chase bytes=16777216 warm=far " + of(chains / 2),
                         Metric::upper_ns,
                         {}});
        lines.push_back({"curve HBM", what, "pointer_chase bytes=4294967296 " + of(chains), Metric::ns, {}});
    }
    return lines;
}

}  // namespace

int probe_verb(const std::string& name, const std::vector<std::string>& sets, const std::string& only,
               const std::string& json_path) {
    const ConfigDirs configs = find_configs();
    const device::Device device = device::load_device(name, configs.devices, sets);
    std::vector<Line> lines;
    for (auto make : {latency_lines, l2_lines, scale_lines, stream_lines, other_lines}) {
        for (Line& line : make()) lines.push_back(std::move(line));
    }
    for (Line& line : curve_lines(device.sms())) lines.push_back(std::move(line));
    const bool quiet = json_path == "-";
    if (!quiet) {
        if (only.empty()) print_budgets(device);
        fmt::print("\n{:<16} {:<52} {:>10} {:<6} {:>10} {:>8}  {}\n", "target", "what", "simulated", "", "published",
                   "error", "source");
    }
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    double sum = 0;
    int compared = 0;
    for (const Line& line : lines) {
        if (!only.empty() && (line.target + std::string(" ") + line.what).find(only) == std::string::npos) continue;
        const Simulated s = simulate_op(workload::parse_op(line.op), {}, device, configs);
        double value = figure(s, line.metric);
        if (!line.one.empty())
            value /= figure(simulate_op(workload::parse_op(line.one), {}, device, configs), Metric::gbps);
        const double gbps = figure(s, Metric::gbps);
        const auto published = line.published.find(device.name);
        nlohmann::ordered_json entry = {
            {"target", line.target},
            {"what", line.what},
            {"op", line.op},
            {"simulated", value},
            {"unit", unit_of(line.metric)},
            {"gbps", gbps},
            {"dram_gbps", static_cast<double>(s.result.counters.dram_read_bytes + s.result.counters.dram_write_bytes) /
                              s.result.time_us * 1e-3}};
        std::string beside;
        if (published != line.published.end()) {
            const double error = 100 * (value - published->second.value) / published->second.value;
            beside = fmt::format("{:>10.{}f} {:>+7.1f}%  {}", published->second.value,
                                 line.metric == Metric::times_one ? 2 : 1, error, published->second.source);
            entry["published"] = published->second.value;
            entry["error_pct"] = error;
            entry["source"] = published->second.source;
            sum += std::abs(error);
            ++compared;
        }
        if (!quiet) {
            if (beside.empty() && line.metric != Metric::gbps) beside = fmt::format("{:>10} at {:.0f} GB/s", "", gbps);
            const int digits = line.metric == Metric::times_one ? 2 : 1;
            fmt::print("{:<16} {:<52} {:>10.{}f} {:<6} {}\n", line.target, line.what, value, digits,
                       unit_of(line.metric), beside);
            std::fflush(stdout);
        }
        list.push_back(entry);
    }
    if (list.empty())
        throw InputError("memwall device probe --only", fmt::format("\"{}\", which no probe contains", only),
                         "a part of a probe's target or name, such as \"1 latency\" or \"TMA\"");
    if (!quiet && compared > 0)
        fmt::print("\nmean absolute error over {} published values: {:.1f} %\n", compared, sum / compared);
    const std::string text =
        nlohmann::ordered_json{{"schema", "memwall-probe/1"}, {"device", device.name}, {"lines", list}}.dump(1) + "\n";
    if (quiet) {
        fmt::print("{}", text);
    } else if (!json_path.empty()) {
        atomic_write(json_path, text);
    }
    return 0;
}

}  // namespace memwall::cli
