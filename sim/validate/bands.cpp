#include "validate/bands.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/json_reader.h"
#include "validate/express.h"

namespace memwall::validate {

namespace {

constexpr const char* kSchema = "memwall-bands/1";
constexpr double kFarthest = 2.08;      // ln 8
constexpr double kOtherProduct = 0.25;  // as if a size differed by a quarter

/// The contract's shorthands of `stream` are streams.
std::map<std::string, std::string> canonical(const std::string& op, std::map<std::string, std::string> params,
                                             std::string& name) {
    name = op;
    if (op == "read" || op == "write" || op == "copy") {
        name = "stream";
        params["reads"] = op == "write" ? "0" : "1";
        params["writes"] = op == "read" ? "0" : "1";
    }
    // Weights are of the product's own type, its input comes in that type and its results leave by the TMA, unless it
    // says otherwise.
    if (op == "gemm" && params.contains("dtype")) {
        params.try_emplace("weights_dtype", params["dtype"]);
        params.try_emplace("quantize", "none");
        params.try_emplace("store", "tma");
    }
    return params;
}

std::optional<double> number(const std::string& text) {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0') return std::nullopt;
    return value;
}

/// What a word of one means in the other: fp16 and bf16 are one size of element.
std::string kind_of(const std::string& word) {
    return word == "fp16" ? "bf16" : word == "int8" ? "fp8" : word;
}

/// Sizes that say how large the work is; all else must agree (or be absent from either).
const std::set<std::string>& sizes() {
    static const std::set<std::string> keys = {
        "m",    "n",         "k",         "batch",           "heads",      "kv_heads", "q",
        "kv",   "rows",      "cols",      "elements",        "bytes",      "context",  "tokens",
        "ctas", "box_bytes", "in_flight", "threads_per_cta", "ctas_per_sm"};
    return keys;
}

/// Nothing when the two are different work.
std::optional<double> distance(const std::map<std::string, std::string>& a,
                               const std::map<std::string, std::string>& b) {
    double sum = 0;
    for (const auto& [key, value] : a) {
        const auto other = b.find(key);
        if (other == b.end()) continue;
        const auto x = number(value), y = number(other->second);
        if (sizes().contains(key) && x && y && *x > 0 && *y > 0) {
            const double factor = std::log(*x / *y);
            sum += factor * factor;
        } else if (key == "passes") {
            if (!x || !y || (*x > 1) != (*y > 1)) return std::nullopt;  // resident or not
        } else if (kind_of(value) != kind_of(other->second)) {
            return std::nullopt;
        }
    }
    return std::sqrt(sum);
}

}  // namespace

std::string bands_json(const std::vector<Result>& results) {
    nlohmann::ordered_json records = nlohmann::ordered_json::array();
    for (const Result& r : results) {
        const bool in_cycles = r.record.metric == "latency_cycles" || r.record.metric == "cycles";
        if (!r.compared() || in_cycles || r.family == kGivenTile) continue;
        const double error = lower_is_better(r.record.metric) ? r.error_pct : 100 * (1 / (1 + r.error_pct / 100) - 1);
        nlohmann::ordered_json params = nlohmann::ordered_json::object();
        const workload::OpSpec op = workload::parse_op(r.simulation.op);
        for (const auto& [key, value] : op.params()) params[key] = value;
        records.push_back({{"id", r.record.id},
                           {"device", r.simulation.device},
                           {"op", r.record.op},
                           {"params", std::move(params)},
                           {"time_error_pct", std::round(error * 100) / 100}});
    }
    return nlohmann::ordered_json{{"schema", kSchema}, {"records", std::move(records)}}.dump(0) + "\n";
}

std::vector<BandRecord> read_bands(const std::string& path) {
    const nlohmann::json file = load_json(path);
    const JsonReader root(file, path);
    if (root.string("schema") != kSchema) root.at("schema").fail(kSchema);
    std::vector<BandRecord> records;
    for (const JsonReader& json : root.at("records").elements()) {
        BandRecord r{
            json.string("id"), json.string("device"), json.string("op"), {}, json.number("time_error_pct", -100, 1e6)};
        const JsonReader params = json.at("params");
        for (const std::string& key : params.keys()) r.params[key] = params.string(key);
        records.push_back(std::move(r));
    }
    return records;
}

std::vector<Neighbour> neighbours_of(const std::vector<BandRecord>& records, const workload::OpSpec& op,
                                     const std::string& device, std::size_t most) {
    std::string name;
    const auto asked = canonical(op.op(), {op.params().begin(), op.params().end()}, name);
    std::vector<Neighbour> near;
    for (const BandRecord& r : records) {
        std::string other;
        const auto params = canonical(r.op, r.params, other);
        if (other != name) continue;
        const auto apart = distance(asked, params);
        if (!apart || *apart > kFarthest) continue;
        near.push_back({r.id, *apart + (r.device == device ? 0 : kOtherProduct), r.time_error_pct});
    }
    std::stable_sort(near.begin(), near.end(),
                     [](const Neighbour& a, const Neighbour& b) { return a.distance < b.distance; });
    if (near.size() > most) near.resize(most);
    return near;
}

result::ComposedBand compose(const std::vector<BandRecord>& records, const std::vector<TimedOp>& operations,
                             const std::string& device) {
    struct Alike {
        const workload::OpSpec* op;
        double us = 0;
    };
    std::map<std::string, Alike> by_text;
    double total_us = 0;
    for (const auto& [op, us] : operations) {
        by_text.try_emplace(workload::text_of(op), Alike{&op}).first->second.us += us;
        total_us += us;
    }
    result::ComposedBand band;
    // An error is of the measured time, which each neighbour puts elsewhere.
    double covered_us = 0, longest_us = 0, shortest_us = 0;
    for (const auto& [text, alike] : by_text) {
        const auto near = neighbours_of(records, *alike.op, device);
        if (near.empty()) continue;
        const auto [low, high] = result::range_of(near);
        covered_us += alike.us;
        longest_us += alike.us / (1 + low / 100);
        shortest_us += alike.us / (1 + high / 100);
        band.operations.push_back({text, alike.us / total_us, low, high, near});
    }
    if (covered_us <= 0) return {};
    band.covered = covered_us / total_us;
    band.low_pct = 100 * (covered_us / longest_us - 1);
    band.high_pct = 100 * (covered_us / shortest_us - 1);
    std::stable_sort(band.operations.begin(), band.operations.end(),
                     [](const auto& a, const auto& b) { return a.share > b.share; });
    return band;
}

}  // namespace memwall::validate
