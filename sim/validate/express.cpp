#include "validate/express.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/error.h"

namespace memwall::validate {

namespace {

using workload::OpSpec;
using Params = std::vector<std::pair<std::string, std::string>>;

[[noreturn]] void refuse(const std::string& reason) {
    throw InputError(reason);
}

std::int64_t whole(const std::string& text, const std::string& what) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size())
        refuse(fmt::format("{}: \"{}\" is no number", what, text));
    return value;
}

void put(Params& params, const std::string& key, const std::string& value) {
    for (auto& [name, old] : params) {
        if (name == key) {
            old = value;
            return;
        }
    }
    params.emplace_back(key, value);
}

void drop(Params& params, const std::string& key) {
    std::erase_if(params, [&](const auto& pair) { return pair.first == key; });
}

const std::string* value_in(const Params& params, const std::string& key) {
    for (const auto& [name, value] : params) {
        if (name == key) return &value;
    }
    return nullptr;
}

// A stream of more is in its steady state for nearly all of it: its ends are 0.1 % at 1 GiB.
constexpr std::int64_t kLongStream = std::int64_t{1} << 30;

void shorten(Params& params, std::string& note) {
    const std::string* bytes = value_in(params, "bytes");
    if (bytes == nullptr || whole(*bytes, "bytes") <= kLongStream) return;
    note = fmt::format("the first GiB of {} bytes", *bytes);
    put(params, "bytes", std::to_string(kLongStream));
}

/// Passes over a resident set, so many that the first ones do not count.
void repeat(Params& params) {
    const std::int64_t bytes = whole(*value_in(params, "bytes"), "bytes");
    const std::int64_t enough = (std::int64_t{2} << 30) / std::max<std::int64_t>(1, bytes);
    put(params, "passes", std::to_string(std::clamp<std::int64_t>(enough, 3, 1024)));
}

/// Distances over which a chain runs: the whole footprint, but where it is large, one line in eight of it, so that the
/// chain is still of all of it and short enough to walk.
void stride_of_chase(Params& params) {
    if (value_in(params, "stride") != nullptr) return;
    const std::int64_t bytes = whole(*value_in(params, "bytes"), "bytes");
    constexpr std::int64_t kSparse = 1024;
    if (bytes > 16 * kSparse * 128) {
        put(params, "stride", std::to_string(kSparse));
        put(params, "bytes", std::to_string(bytes / (2 * kSparse) * (2 * kSparse)));
    } else {
        put(params, "bytes", std::to_string(bytes / 128 * 128));
    }
}

/// Published chases over a case rather than a footprint.
Figure chase_of_case(Params& params) {
    const std::string place = *value_in(params, "case");
    drop(params, "case");
    if (place == "L2 hit, near partition") {
        put(params, "bytes", "1048576");
        return Figure::chase_cycles;
    }
    if (place == "L2 hit, far partition") {
        // Two chains of one half's SMs over what only the other half holds: its own places are the slower half.
        put(params, "bytes", "16777216");
        put(params, "warm", "far");
        put(params, "chains", "2");
        return Figure::chase_far_cycles;
    }
    if (place == "L2 miss, near partition" || place == "L2 miss, far partition") {
        put(params, "bytes", "1073741824");
        put(params, "stride", "4096");
        return place == "L2 miss, near partition" ? Figure::chase_near_cycles : Figure::chase_far_cycles;
    }
    refuse(fmt::format("a chase over \"{}\", which is no place that memwall can aim at", place));
}

/// A loop by plain loads over less than the SM's L1 is served there.
void adapt_chase(Params& params, std::int64_t l1_bytes) {
    const std::string* access = value_in(params, "access");
    if (access != nullptr && *access != "ld") return;
    if (whole(*value_in(params, "bytes"), "bytes") < l1_bytes) put(params, "access", "l1");
}

void adapt_wgmma(Params& params) {
    if (const std::string* operand = value_in(params, "operand_A")) put(params, "operand_a", *operand);
    drop(params, "operand_A");
    drop(params, "accumulator");
    if (const std::string* operand = value_in(params, "operand_a")) {
        if (*operand == "smem") put(params, "operand_a", "shared");
        if (*operand == "reg") put(params, "operand_a", "register");
    } else {
        put(params, "operand_a", "shared");
    }
}

void adapt_model(Params& params) {
    for (const char* key : {"concurrency", "term"}) {
        if (value_in(params, key) != nullptr)
            refuse(fmt::format("a server's fit over many requests (its {}), not one step", key));
    }
    if (value_in(params, "dtype") == nullptr) put(params, "dtype", "bf16");
}

/// A resident set over which one launch makes several passes, as against one that earlier launches left there: then the
/// CTAs' coming and going is part of what is measured.
bool in_one_launch(const Record& r) {
    return r.warm && is_stream(r.op) && r.number("passes") >= 2;
}

OpSpec adapted(const Record& r, std::int64_t l1_bytes, Figure& figure, std::string& note) {
    Params params = r.params;
    std::string op = r.op;
    drop(params, "data");  // it decides the clock, not the work
    if (op == "dsmem_chase") {
        drop(params, "pair");
        drop(params, "buffer_bytes");
        if (const auto* size = value_in(params, "cluster_size"); size != nullptr && *size == "same SM")
            put(params, "cluster_size", "1");
    } else if (op == "pointer_chase") {
        if (value_in(params, "case") != nullptr) {
            figure = chase_of_case(params);
        } else {
            if (value_in(params, "bytes") == nullptr) refuse("a chase that names no bytes");
            adapt_chase(params, l1_bytes);
            stride_of_chase(params);
        }
    } else if (is_stream(op)) {
        if (value_in(params, "bytes") == nullptr) refuse("a stream that names no bytes");
        if (in_one_launch(r)) repeat(params);
        // STREAM's kernels name the CTAs that an SM holds, because theirs come and go, an element a thread.
        if (op == "stream" && in_one_launch(r) && r.find("ctas_per_sm") != nullptr) put(params, "cyclic", "1");
        shorten(params, note);
    } else if (op == "tma_read") {
        shorten(params, note);
    } else if (op == "wgmma") {
        adapt_wgmma(params);
    } else if (op == "model_decode" || op == "model_prefill") {
        adapt_model(params);
    }
    return {op, params};
}

/// A cluster of 2 along m may stand as 2, [2, 1] or [2, 1, 1].
std::string along_m(const std::string& cluster) {
    const std::size_t cross = cluster.find('x');
    if (cross == std::string::npos) return cluster;
    if (cluster.find_first_not_of("1x", cross) != std::string::npos)
        refuse(fmt::format("a cluster of {}: memwall's are along m", cluster));
    return cluster.substr(0, cross);
}

workload::ScheduleWish wish_of(const Record& r) {
    workload::ScheduleWish wish;
    const auto number = [&](const std::string& text, const std::string& key) {
        return static_cast<int>(whole(text, "schedule " + key));
    };
    for (const auto& [key, value] : r.schedule) {
        if (key == "tile") {
            wish.tile = workload::parse_tile(value, "schedule tile");
        } else if (key == "stages") {
            wish.stages = number(value, key);
        } else if (key == "split" || key == "split_k") {
            wish.split = number(value, key);
        } else if (key == "cluster") {
            wish.cluster = number(along_m(value), key);
        } else if (key == "panel") {
            wish.panel = number(value, key);
        } else if (key == "persistent") {
            wish.persistent = value == "1" || value == "true";
        } else if (key == "stream_k") {
            wish.stream_k = value == "1" || value == "true";
        } else if (key == "path") {
            if (value != "tma" && value != "plain") refuse(fmt::format("schedule path \"{}\": tma or plain", value));
            wish.path = value == "tma" ? trace::LoadPath::tma : trace::LoadPath::plain;
        } else if (key == "store" && r.op == "gemm") {
            wish.store = workload::parse_store(value, "schedule store");
        } else {
            refuse(
                fmt::format("schedule key \"{}\" is not memwall's (tile, stages, split, stream_k, cluster, panel, "
                            "persistent, path; store of a gemm)",
                            key));
        }
    }
    return wish;
}

Figure figure_of(const Record& r) {
    const bool chase = r.op == "pointer_chase" || r.op == "dsmem_chase";
    const bool moves = is_stream(r.op) || r.op == "tma_read" || r.op == "elementwise";
    const bool model = r.op == "model_decode" || r.op == "model_prefill";
    const bool kernel = !chase && r.op != "wgmma" && r.op != "launch";
    // A chain's value is of one access, a wgmma's of one instruction: their kernels' times say nothing.
    if (r.metric == "time_us" && r.op == "launch") return Figure::period_us;
    if (r.metric == "time_us" && kernel) return Figure::time_us;
    if (r.metric == "cycles" && kernel) return Figure::cycles;
    if (r.metric == "tflops" && !chase && !moves && r.op != "launch") return Figure::tflops;
    if (r.metric == "gbps" && kernel) return Figure::gbps;
    if (r.metric == "tokens_per_s" && model) return Figure::tokens_per_s;
    // What stays in L2 has no share of the memory's peak.
    if (r.metric == "fraction_of_peak" && moves && !r.warm && r.number("passes", 1) <= 1)
        return Figure::memory_fraction;
    if (r.metric == "fraction_of_peak" && !moves && !chase && r.op != "launch") return Figure::roofline_fraction;
    if (r.metric == "latency_ns" && chase) return Figure::chase_ns;
    if ((r.metric == "latency_cycles" || r.metric == "cycles") && chase) return Figure::chase_cycles;
    if ((r.metric == "latency_cycles" || r.metric == "cycles") && r.op == "wgmma") return Figure::cycles_each;
    refuse(fmt::format("{} of {}: no figure of its simulation is that", r.metric, r.op));
}

/// What a replayed graph takes for one of its operations beside the operation's kernels. From one operation to the next
/// it is the gap between nodes; from one replay to the next, that between two launches of a stream; and the first
/// replay of all waits for the host. Both last ones are spread over what they were for.
double around_a_node(const Record& r, const device::LaunchParams& launch) {
    if (r.graph_ops == 0) return launch.graph_gap_us;
    const double once = launch.first_launch_us / r.graph_replays;
    return ((r.graph_ops - 1) * launch.graph_gap_us + launch.stream_gap_us + once) / r.graph_ops;
}

}  // namespace

std::string device_for(const std::string& product) {
    if (product == "h800-sxm5") return "h100-sxm5";
    return product == "h800-pcie" ? "h100-pcie" : product;
}

Expressed express(const Record& r, const device::Device& device) {
    if (!r.failure.empty()) refuse(r.failure);
    if (!(r.value > 0)) refuse("a measured value of zero has no relative error");
    const auto ops = workload::op_names();
    if (std::find(ops.begin(), ops.end(), r.op) == ops.end())
        refuse(fmt::format("\"{}\" is no operation that memwall simulates", r.op));
    Figure figure = figure_of(r);
    std::string note;
    OpSpec op = adapted(r, device.sm.l1_bytes, figure, note);
    Expressed e{std::move(op), wish_of(r), figure, 0, false, false, note};
    e.warm = r.warm && !in_one_launch(r);  // passes inside a launch warm up by themselves
    if (r.timing == Timing::graph_node) e.added_us = around_a_node(r, device.launch);
    // One after another in a stream, kernels do not overlap: at least what a graph has between two lies between them.
    // (The stream's own gap is that of kernels so short that the host cannot launch them fast enough.)
    if (r.timing == Timing::event && r.kind == "kernel" && !is_stream(r.op)) e.added_us = device.launch.graph_gap_us;
    if (r.timing == Timing::event_with_launch) e.added_us = device.launch.first_launch_us;
    const std::string* data = r.find("data");
    if (data != nullptr && *data != "random" && *data != "zeros" && *data != "constant")
        refuse(fmt::format("data \"{}\": random, zeros or constant", *data));
    e.at_full_clock = e.op.op() == "pointer_chase" || e.op.op() == "dsmem_chase" || e.op.op() == "launch" ||
                      (data != nullptr && (*data == "zeros" || *data == "constant"));
    return e;
}

}  // namespace memwall::validate
