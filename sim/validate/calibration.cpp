#include "validate/calibration.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "validate/express.h"

namespace memwall::validate {

namespace {

double l2_bytes(const device::Device& d) {
    return static_cast<double>(d.l2.slices) * d.l2.slice_bytes;
}

bool is(const Record& r, const char* key, const char* value) {
    const std::string* text = r.find(key);
    return text != nullptr && *text == value;
}

/// A chain of loads (or of TMA loads) over a footprint between two shares of the L2.
bool chase(const Record& r, const device::Device& d, bool tma, double low, double high) {
    if (r.op != "pointer_chase" || r.metric != "latency_cycles" || r.find("bytes") == nullptr) return false;
    const std::string* access = r.find("access");
    const bool is_tma = access != nullptr && *access == "tma";
    if (is_tma != tma || (access != nullptr && !is_tma && *access != "ld")) return false;
    const double bytes = r.number("bytes"), l2 = l2_bytes(d);
    return bytes >= low * l2 && bytes <= high * l2;
}

/// A stream over a resident set that all SMs read, or write, at full occupancy.
bool resident(const Record& r, const device::Device& d, double reads, double writes) {
    const double bytes = r.number("bytes");
    return r.op == "stream" && r.metric == "gbps" && r.warm && r.number("reads") == reads &&
           r.number("writes") == writes && r.number("threads_per_cta", 1024) >= 1024 && bytes >= 4e6 &&
           bytes <= 0.4 * l2_bytes(d) && r.find("sms") == nullptr;
}

bool launch(const Record& r, const char* runtime) {
    return r.op == "launch" && r.metric == "time_us" && is(r, "runtime", runtime);
}

/// One element a thread, few threads: the rate is that of CTAs coming and going.
bool turnover(const Record& r) {
    return r.op == "stream" && r.metric == "gbps" && !r.warm && r.number("reads") == 1 && r.number("writes") == 0 &&
           r.number("threads_per_cta", 1024) <= 128;
}

}  // namespace

const std::vector<Cause>& causes() {
    using R = const Record&;
    using D = const device::Device&;
    static const std::vector<Cause> all = {
        {"L2 hit in the own half", "/l2/hit_ns", [](R r, D d) { return chase(r, d, false, 0.02, 0.36); }},
        {"L2 hit in the other half", "/floorplan/partition_link/latency_ns",
         [](R r, D d) { return chase(r, d, false, 0.58, 0.92); }},
        {"DRAM", "/hbm/controller_ns", [](R r, D d) { return chase(r, d, false, 2, 1e9); }},
        {"TMA load that hits the L2", "/tma/latency_cycles", [](R r, D d) { return chase(r, d, true, 0.02, 0.36); }},
        {"load from another SM of a cluster", "/crossbar/cluster_latency_cycles",
         [](R r, D) { return r.op == "dsmem_chase" && !is(r, "cluster_size", "same SM"); }},
        {"kernel after kernel in a stream", "/launch/stream_gap_us", [](R r, D) { return launch(r, "stream"); }},
        {"kernel after kernel in a graph", "/launch/graph_gap_us", [](R r, D) { return launch(r, "graph"); }},
        {"dependent launch", "/launch/pdl_gap_us", [](R r, D) { return launch(r, "pdl"); }},
        {"grid barrier of a persistent kernel", "/launch/megakernel_gap_us",
         [](R r, D) { return launch(r, "megakernel"); }},
        {"L2 read rate of all SMs", "/floorplan/gpc_crossbar/bytes_per_cycle_back",
         [](R r, D d) { return resident(r, d, 1, 0); }},
        {"L2 write rate of all SMs", "/floorplan/gpc_crossbar/bytes_per_cycle",
         [](R r, D d) { return resident(r, d, 0, 1); }},
        {"turnover of CTAs", "/launch/cta_start_cycles", [](R r, D) { return turnover(r); }},
    };
    return all;
}

std::vector<Record> records_of(const Cause& cause, const std::vector<Record>& all, const device::Device& device,
                               const std::string& product, std::size_t most) {
    std::vector<Record> showing;
    for (const Record& r : all) {
        const bool ours = r.device == product || device_for(r.device) == product;
        if (r.kind == "micro" && r.failure.empty() && r.value > 0 && ours && cause.shows_in(r, device))
            showing.push_back(r);
    }
    if (showing.size() <= most) return showing;
    std::vector<Record> spread;
    for (std::size_t i = 0; i < most; ++i) spread.push_back(showing[i * (showing.size() - 1) / (most - 1)]);
    return spread;
}

Fit fit_parameter(const std::function<double(double)>& error, double start, double lowest, double highest,
                  double tolerance) {
    constexpr int kMost = 14;
    Fit fit;
    const auto evaluate = [&](double x) {
        ++fit.evaluations;
        const double e = error(x);
        if (fit.evaluations == 1 || std::abs(e) < std::abs(fit.error_after)) {
            fit.value = x;
            fit.error_after = e;
        }
        return e;
    };
    double a = start, fa = evaluate(a);
    fit.error_before = fa;
    if (std::abs(fa) <= tolerance) {
        fit.bracketed = true;
        return fit;
    }
    // Outward, first a little upward to learn which way the error falls.
    double step = std::max(0.1 * std::abs(start), 1e-3 * (highest - lowest));
    double b = std::min(highest, a + step), fb = evaluate(b);
    if (std::abs(fb) >= std::abs(fa) && fa * fb > 0) {
        step = -step;
        b = std::max(lowest, a + step);
        fb = evaluate(b);
    }
    while (fa * fb > 0 && fit.evaluations < kMost && b > lowest && b < highest) {
        step *= 2;
        a = b;
        fa = fb;
        b = std::clamp(b + step, lowest, highest);
        fb = evaluate(b);
        if (std::abs(fb - fa) < tolerance / 4) break;  // another part binds: this one no longer shows
    }
    if (fa * fb > 0) return fit;
    fit.bracketed = true;
    // Between: false position, the Illinois way.
    for (int side = 0; fit.evaluations < 2 * kMost && std::abs(fit.error_after) > tolerance;) {
        const double x = (a * fb - b * fa) / (fb - fa), fx = evaluate(x);
        if (fx * fb < 0) {
            a = b;
            fa = fb;
            side = 0;
        } else if (side++ > 0) {
            fa /= 2;
        }
        b = x;
        fb = fx;
        if (fb == 0 || a == b) break;
    }
    return fit;
}

std::string calibrated_device(const std::string& name, const std::string& base, const std::string& description,
                              const std::vector<FittedEntry>& entries) {
    nlohmann::ordered_json file = {{"name", name}, {"extends", base}, {"description", description}};
    for (const FittedEntry& entry : entries) {
        file[nlohmann::ordered_json::json_pointer(entry.pointer)] = {
            {"value", entry.value}, {"unit", entry.unit}, {"kind", "inferred"}, {"source", entry.source}};
    }
    return file.dump(2) + "\n";
}

}  // namespace memwall::validate
