#include "validate/recording.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <tuple>

#include "base/error.h"
#include "base/json_reader.h"
#include "validate/statistics.h"

namespace memwall::validate {

namespace {

constexpr std::size_t kColumns = 8;
const std::array<const char*, kColumns> kNames = {"sm",          "cta",         "item",          "step",
                                                  "load_issued", "load_landed", "compute_begun", "compute_done"};

Tile tile_of(const JsonReader& row) {
    const auto values = row.elements();
    if (values.size() != kColumns) row.fail(fmt::format("{} columns", kColumns));
    std::array<double, kColumns> v{};
    for (std::size_t i = 0; i < kColumns; ++i) v[i] = values[i].as_number(-1e15, 1e15);
    return {static_cast<int>(v[0]),
            static_cast<int>(v[1]),
            static_cast<int>(v[2]),
            static_cast<int>(v[3]),
            v[4],
            v[5],
            v[6],
            v[7]};
}

Distribution distribution_of(const std::vector<double>& values) {
    Distribution d;
    d.n = values.size();
    if (values.empty()) return d;
    d.mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
    d.p10 = percentile(values, 0.1);
    d.p50 = percentile(values, 0.5);
    d.p90 = percentile(values, 0.9);
    return d;
}

class TraceEvents {
public:
    void add(int process, int thread, const std::string& name, double begin_ns, double end_ns) {
        put(fmt::format(R"({{"ph":"X","name":"{}","pid":{},"tid":{},"ts":{:.4f},"dur":{:.4f}}})", name, process, thread,
                        begin_ns * 1e-3, (end_ns - begin_ns) * 1e-3));
    }
    void name(const char* what, int process, int thread, const std::string& text) {
        put(fmt::format(R"({{"ph":"M","name":"{}","pid":{},"tid":{},"args":{{"name":"{}"}}}})", what, process, thread,
                        text));
    }
    [[nodiscard]] std::string text() const {
        return "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n" + events_ + "\n]}\n";
    }

private:
    void put(const std::string& event) { events_ += (events_.empty() ? "" : ",\n") + event; }
    std::string events_;
};

/// Loads of several stages overlap: each takes the first row that is free.
void add_tiles(TraceEvents& events, const std::vector<Tile>& tiles, int sms, int first_thread, const char* whose) {
    std::map<int, std::vector<double>> rows;
    std::map<std::pair<int, int>, bool> named;
    const auto thread = [&](int sm, int number, const std::string& name) {
        if (!std::exchange(named[{sm, number}], true)) events.name("thread_name", sm, number, name);
        return number;
    };
    for (const Tile& t : tiles) {
        if (t.sm >= sms) continue;
        auto& ends = rows[t.sm];
        std::size_t row = 0;
        while (row < ends.size() && ends[row] > t.load_issued) ++row;
        if (row == ends.size()) ends.push_back(0);
        ends[row] = t.load_landed;
        const std::string what = fmt::format("item {} step {}", t.item, t.step);
        const int number = first_thread + static_cast<int>(row) + 1;
        events.add(t.sm, thread(t.sm, number, fmt::format("{}: load {}", whose, row + 1)), what, t.load_issued,
                   t.load_landed);
        events.add(t.sm, thread(t.sm, first_thread, fmt::format("{}: compute", whose)), what, t.compute_begun,
                   t.compute_done);
    }
}

}  // namespace

std::vector<RecordedKernel> read_recording(const std::string& path) {
    const nlohmann::json file = load_json(path);
    const JsonReader root(file, path, JsonReader::Mode::lenient);
    if (!file.is_object() || root.string("schema") != "memwall-trace/1")
        root.fail("an object of schema memwall-trace/1");
    const JsonReader recording = root.at("recording");
    const auto columns = recording.at("columns").elements();
    for (std::size_t i = 0; i < kColumns; ++i) {
        if (columns.size() != kColumns || columns[i].as_string() != kNames.at(i))
            recording.at("columns").fail("sm, cta, item, step, load_issued, load_landed, compute_begun, compute_done");
    }
    if (recording.string("unit") != "ns") recording.at("unit").fail("ns");
    std::vector<RecordedKernel> kernels;
    for (const JsonReader& json : root.at("kernels").elements()) {
        RecordedKernel k;
        k.name = json.string("name");
        k.work.id = k.name;
        k.work.device = recording.string("device");
        k.work.kind = "kernel";
        k.work.op = json.string("op");
        k.work.params = pairs_of(json.at("params"));
        k.work.schedule = pairs_of(json.at("schedule"));
        k.work.metric = "time_us";
        k.work.value = json.number("time_us", 0, 1e12);
        k.recorded_time_us = json.number("recorded_time_us", 0, 1e12);
        for (const JsonReader& row : json.at("tiles").elements()) k.tiles.push_back(tile_of(row));
        kernels.push_back(std::move(k));
    }
    return kernels;
}

std::vector<Tile> simulated_tiles(const Observations& seen) {
    // A step's operands lie in the first ring, or in the first two (keys and values, of which the values are used
    // last). What a second ring holds for a whole work item, such as queries, is filled less often and belongs to no
    // step.
    // Kernels without such a ring (the fold of a split product, the combine of a split decode) have no steps.
    std::map<std::tuple<int, int, Ps>, std::array<int, 2>> fills;
    for (const TileObservation& t : seen.tiles)
        if (t.ring < 2 && !t.registers)
            ++fills[std::tuple(t.sm, t.slot, t.cta_began)][static_cast<std::size_t>(t.ring)];
    const auto of_steps = [&](const TileObservation& t) {
        const auto& [first, second] = fills[std::tuple(t.sm, t.slot, t.cta_began)];
        return first == second;
    };
    std::map<std::tuple<int, int, Ps, std::int64_t>, Tile> steps;
    for (const bool first : {true, false}) {
        for (const TileObservation& t : seen.tiles) {
            if (t.registers) continue;
            const auto key = std::tuple(t.sm, t.slot, t.cta_began, t.use);
            if (first && t.ring == 0) {
                steps[key] = {t.sm,          0,           t.tile[0],   static_cast<int>(t.use),
                              t.issued.ns(), t.seen.ns(), t.seen.ns(), t.done.ns()};
            } else if (!first && t.ring == 1 && of_steps(t)) {
                if (const auto step = steps.find(key); step != steps.end()) step->second.compute_done = t.done.ns();
            }
        }
    }
    std::vector<Tile> tiles;
    double origin = std::numeric_limits<double>::infinity();
    for (const auto& [key, tile] : steps) {
        tiles.push_back(tile);
        origin = std::min(origin, tile.load_issued);
    }
    for (Tile& t : tiles) {
        for (double* at : {&t.load_issued, &t.load_landed, &t.compute_begun, &t.compute_done}) *at -= origin;
    }
    return tiles;
}

TileStatistics statistics_of(const std::vector<Tile>& tiles) {
    std::vector<double> latency, compute, skew;
    std::map<int, double> begins;
    for (const Tile& t : tiles) {
        latency.push_back(t.load_landed - t.load_issued);
        compute.push_back(t.compute_done - t.compute_begun);
        const auto [at, first] = begins.emplace(t.sm, t.load_issued);
        if (!first) at->second = std::min(at->second, t.load_issued);
    }
    double earliest = begins.empty() ? 0 : begins.begin()->second;
    for (const auto& [sm, begin] : begins) earliest = std::min(earliest, begin);
    for (const auto& [sm, begin] : begins) skew.push_back(begin - earliest);
    return {distribution_of(latency), distribution_of(compute), distribution_of(skew)};
}

std::string tiles_markdown(const RecordedKernel& recorded, const TileStatistics& measured,
                           const TileStatistics& simulated, double simulated_us) {
    std::string text = fmt::format(
        "## {}\n\n{:.2f} us measured ({:.2f} us with the recorder), {:.2f} us simulated.\n\n"
        "| ns | | n | mean | p10 | median | p90 |\n|---|---|---|---|---|---|---|\n",
        recorded.name, recorded.work.value, recorded.recorded_time_us, simulated_us);
    const auto rows = [&](const char* what, const Distribution& m, const Distribution& s) {
        text += fmt::format("| {} | recorded | {} | {:.0f} | {:.0f} | {:.0f} | {:.0f} |\n", what, m.n, m.mean, m.p10,
                            m.p50, m.p90);
        text +=
            fmt::format("| | simulated | {} | {:.0f} | {:.0f} | {:.0f} | {:.0f} |\n", s.n, s.mean, s.p10, s.p50, s.p90);
    };
    rows("load, from order until its consumer sees it", measured.load_latency, simulated.load_latency);
    rows("compute", measured.compute_time, simulated.compute_time);
    rows("an SM's first load after the chip's", measured.start_skew, simulated.start_skew);
    return text + "\n";
}

std::string tiles_timeline(const std::vector<Tile>& recorded, const std::vector<Tile>& simulated, int sms) {
    TraceEvents events;
    for (int sm = 0; sm < sms; ++sm) events.name("process_name", sm, 0, fmt::format("SM {}", sm));
    add_tiles(events, recorded, sms, 100, "recorded");
    add_tiles(events, simulated, sms, 200, "simulated");
    return events.text();
}

}  // namespace memwall::validate
