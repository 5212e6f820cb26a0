#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/json_reader.h"
#include "result/report.h"

namespace memwall::result {

namespace {

using Json = nlohmann::ordered_json;

constexpr int kDigits = 8;

double tidy(double value) {
    return rounded(value, kDigits);
}

/// Counts as integers, while they fit.
Json count(double value) {
    constexpr double kExact = 9.0e15;  // below 2^53
    if (value < kExact) return static_cast<std::int64_t>(std::llround(value));
    return value;
}

/// Whole numbers as such, all else as text.
Json pairs_json(const std::vector<std::pair<std::string, std::string>>& pairs) {
    Json json = Json::object();
    for (const auto& [key, value] : pairs) {
        char* end = nullptr;
        const long long number = std::strtoll(value.c_str(), &end, 10);
        if (!value.empty() && *end == '\0') {
            json[key] = number;
        } else {
            json[key] = value;
        }
    }
    return json;
}

Json op_json(const OpResult& op) {
    Json json = {{"name", op.name},
                 {"op", op.op},
                 {"start_us", tidy(op.start_us)},
                 {"time_us", tidy(op.time_us)},
                 {"gap_us", tidy(op.gap_us)},
                 {"flops", count(op.flops)},
                 {"tflops", tidy(op.tflops)},
                 {"dram_bytes", op.dram_read_bytes + op.dram_write_bytes},
                 {"dram_read_bytes", op.dram_read_bytes},
                 {"dram_write_bytes", op.dram_write_bytes},
                 {"l2_bytes", op.l2_bytes},
                 {"smem_bytes", op.smem_bytes},
                 {"dram_gbps", tidy(op.dram_gbps)},
                 {"fraction_of_peak", tidy(op.fraction_of_peak)},
                 {"tensor_busy_fraction", tidy(op.tensor_busy)},
                 {"roofline_us", tidy(op.roofline_us)},
                 {"bound", op.bound},
                 {"tile", op.tile},
                 {"stages", op.stages},
                 {"split", op.split},
                 {"stream_k", op.stream_k},
                 {"ctas", op.ctas}};
    if (!op.params.empty()) json["params"] = pairs_json(op.params);
    if (op.times > 1) json["times"] = op.times;
    return json;
}

Json schedule_json(const RunDescription& run) {
    const KernelInfo* main = main_kernel(run);
    if (main == nullptr || main->stages == 0) return nullptr;
    return {{"kernel", main->name}, {"tile", main->tile},         {"stages", main->stages},
            {"split", main->split}, {"stream_k", main->stream_k}, {"ctas", main->ctas}};
}

Json channels_json(const Observations& seen) {
    Json list = Json::array();
    for (const ChannelObservation& c : seen.channels) {
        list.push_back({{"stack", c.stack},
                        {"pseudo_channel", c.pseudo_channel},
                        {"read_bytes", c.read_bytes},
                        {"write_bytes", c.write_bytes},
                        {"row_hits", c.row_hits},
                        {"row_misses", c.row_misses},
                        {"row_conflicts", c.row_conflicts},
                        {"activates", c.activates},
                        {"refreshes", c.refreshes}});
    }
    return list;
}

}  // namespace

namespace {

Json power_json(const RunDescription& run) {
    const Power& p = run.power;
    Json json = {{"board_w", tidy(p.board_w)},
                 {"limit_w", p.limit_w},
                 {"peak_limit_w", p.peak_limit_w},
                 {"sustained_sm_clock_mhz", tidy(p.sustained_mhz)},
                 {"burst_sm_clock_mhz", tidy(p.burst_mhz)},
                 {"by_part_w",
                  {{"idle", tidy(p.idle_w)},
                   {"hbm", tidy(p.hbm_w)},
                   {"l2", tidy(p.l2_w)},
                   {"crossbar", tidy(p.crossbar_w)},
                   {"partition_link", tidy(p.link_w)},
                   {"smem", tidy(p.smem_w)},
                   {"tensor", tidy(p.tensor_w)},
                   {"vector", tidy(p.vector_w)}}}};
    // The clock was sought, up to this one.
    if (run.clock_ceiling_mhz > 0) json["ceiling_sm_clock_mhz"] = run.clock_ceiling_mhz;
    return json;
}

Json neighbours_json(const std::vector<Neighbour>& near) {
    Json records = Json::array();
    for (const Neighbour& n : near)
        records.push_back({{"id", n.id}, {"distance", tidy(n.distance)}, {"time_error_pct", n.time_error_pct}});
    return records;
}

Json composed_json(const ComposedBand& composed) {
    Json operations = Json::array();
    for (const OperationBand& one : composed.operations) {
        operations.push_back({{"op", one.op},
                              {"share", tidy(one.share)},
                              {"low_pct", one.low_pct},
                              {"high_pct", one.high_pct},
                              {"records", neighbours_json(one.neighbours)}});
    }
    return {{"covered", tidy(composed.covered)},
            {"low_pct", tidy(composed.low_pct)},
            {"high_pct", tidy(composed.high_pct)},
            {"operations", operations}};
}

/// The errors of the measurements nearest to the run; null without a correlation to look into.
Json error_band_json(const RunDescription& run) {
    if (!run.correlated) return nullptr;
    Json band = {{"records", neighbours_json(run.neighbours)}, {"low_pct", nullptr}, {"high_pct", nullptr}};
    if (run.neighbours.empty()) {
        band["note"] = "no measured record is near";
    } else {
        const auto [low, high] = range_of(run.neighbours);
        band["low_pct"] = low;
        band["high_pct"] = high;
    }
    if (run.by_operation.covered > 0) band["by_operation"] = composed_json(run.by_operation);
    return band;
}

}  // namespace

std::string to_json(const RunDescription& run, const RunResult& r, const Observations& seen) {
    const Counters& c = r.counters;
    const double gbps = static_cast<double>(c.dram_read_bytes + c.dram_write_bytes) / r.time_us * 1e-3;
    Json json;
    json["schema"] = "memwall-result/1";
    json["device"] = run.device;
    json["workload"] = pairs_json(run.workload);
    json["schedule"] = schedule_json(run);
    json["time_us"] = tidy(r.time_us);
    json["sm_cycles"] = static_cast<std::int64_t>(std::llround(r.sm_cycles));
    json["sm_clock_mhz"] = run.sm_clock_mhz;
    json["tokens_per_s"] = tidy(r.tokens_per_s);
    json["flops"] = count(r.flops);
    json["tflops"] = tidy(r.tflops);
    json["arithmetic_intensity"] = tidy(r.arithmetic_intensity);
    json["dram"] = {{"read_bytes", c.dram_read_bytes},
                    {"write_bytes", c.dram_write_bytes},
                    {"gbps", tidy(gbps)},
                    {"fraction_of_peak", tidy(gbps / run.hbm_peak_gbps)},
                    {"row_hit_rate", tidy(r.row_hit_rate)},
                    {"refresh_fraction", tidy(r.refresh_fraction)},
                    {"activates", c.dram_activates},
                    {"row_conflicts", c.dram_row_conflicts},
                    {"channels", channels_json(seen)}};
    json["l2"] = {{"read_bytes", c.l2_read_bytes},           {"write_bytes", c.l2_write_bytes},
                  {"hit_rate", tidy(r.l2_hit_rate)},         {"lookup_busy_fraction", tidy(r.l2_lookup_busy)},
                  {"near_bytes", c.l2_near_bytes},           {"far_bytes", c.l2_far_bytes},
                  {"far_hit_bytes", c.l2_far_hit_bytes},     {"coalesced_bytes", c.l2_coalesced_bytes},
                  {"writeback_bytes", c.l2_writeback_bytes}, {"link_bytes", c.link_bytes}};
    json["smem"] = {{"bytes", c.smem_bytes},
                    {"bytes_per_cycle_per_sm", tidy(static_cast<double>(c.smem_bytes) / r.sm_cycles / run.sms)},
                    {"busy_fraction", tidy(r.smem_busy)}};
    json["tensor"] = {{"busy_fraction", tidy(r.tensor_busy)}};
    json["roofline_us"] = {{"compute", tidy(r.roofline_compute_us)}, {"memory", tidy(r.roofline_memory_us)}};
    json["tile_lifetime"] = {{"hbm", tidy(r.lifetime.hbm)},
                             {"interposer", tidy(r.lifetime.interposer)},
                             {"l2", tidy(r.lifetime.l2)},
                             {"crossbar", tidy(r.lifetime.crossbar)},
                             {"smem_wait", tidy(r.lifetime.smem_wait)},
                             {"compute", tidy(r.lifetime.compute)}};
    json["waterfall_us"] = Json::array();
    for (const Loss& loss : r.waterfall) json["waterfall_us"].push_back({{"cause", loss.cause}, {"us", loss.us}});
    if (run.layers.all > 0) {
        json["layers"] = run.layers.all;
        json["layers_simulated"] = run.layers.simulated;
    }
    if (seen.chase.accesses > 0) {
        json["chase"] = {{"mean_cycles", tidy(seen.chase.mean_cycles)},
                         {"p10_cycles", tidy(seen.chase.p10_cycles)},
                         {"p50_cycles", tidy(seen.chase.p50_cycles)},
                         {"p90_cycles", tidy(seen.chase.p90_cycles)},
                         {"accesses", seen.chase.accesses}};
    }
    json["ops"] = Json::array();
    for (const OpResult& op : r.ops) json["ops"].push_back(op_json(op));
    json["parts"] = Json::array();
    for (const PartTraffic& part : seen.parts)
        json["parts"].push_back({{"name", part.name}, {"bytes_in", part.bytes_in}, {"bytes_out", part.bytes_out}});
    json["power"] = power_json(run);
    json["error_band"] = error_band_json(run);
    json["host"] = {{"wall_s", tidy(run.wall_s)},         {"events", seen.events},
                    {"activations", seen.activations},    {"lines", seen.lines},
                    {"max_rss_bytes", run.max_rss_bytes}, {"version", run.version}};
    return json.dump(1) + "\n";
}

}  // namespace memwall::result
