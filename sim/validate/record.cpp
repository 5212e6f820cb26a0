#include "validate/record.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/json_reader.h"

namespace memwall::validate {

namespace {

constexpr const char* kSchema = "memwall-reference/1";
const std::vector<std::string> kKinds = {"micro", "kernel", "model"};
const std::vector<std::string> kClocks = {"measured", "locked", "around"};
const std::vector<std::string> kAuthors = {"library", "trial"};

constexpr std::pair<const char*, Timing> kTimings[] = {{"in_kernel", Timing::in_kernel},
                                                       {"event", Timing::event},
                                                       {"event_with_launch", Timing::event_with_launch},
                                                       {"graph_node", Timing::graph_node},
                                                       {"profiler", Timing::profiler},
                                                       {"per_launch", Timing::per_launch},
                                                       {"served", Timing::served}};

Timing timing_of(const std::string& name, const JsonReader& at) {
    std::vector<std::string> names;
    for (const auto& [known, timing] : kTimings) {
        if (name == known) return timing;
        names.emplace_back(known);
    }
    at.fail(joined(names));
}

std::string text_of(const nlohmann::json& value) {
    if (value.is_string()) return value.get<std::string>();
    if (value.is_boolean()) return value.get<bool>() ? "1" : "0";
    if (value.is_number_float()) {
        const auto number = value.get<double>();
        if (number == static_cast<double>(static_cast<std::int64_t>(number)))
            return std::to_string(static_cast<std::int64_t>(number));
        return fmt::format("{}", number);
    }
    // A tile is written as numbers: 128x256x64.
    const auto whole = [](const nlohmann::json& item) { return item.is_number_integer(); };
    if (value.is_array() && !value.empty() && std::all_of(value.begin(), value.end(), whole)) {
        std::string text;
        for (const auto& item : value) text += (text.empty() ? "" : "x") + std::to_string(item.get<std::int64_t>());
        return text;
    }
    return value.dump();
}

Repetition repetition_of(const JsonReader& json) {
    constexpr double kMost = 1e9;
    Repetition r;
    if (json.find("timed_ms")) {
        if (json.find("repeats") || json.find("warmups")) json.fail("counts, or times, not both");
        r.timed_ms = json.number("timed_ms", 1e-6, kMost);
        if (json.find("warmup_ms")) r.warmup_ms = json.number("warmup_ms", 0, kMost);
    } else {
        if (json.find("warmup_ms")) json.fail("timed_ms beside warmup_ms");
        r.repeats = json.number("repeats", 1, kMost);
        if (json.find("warmups")) r.warmups = json.number("warmups", 0, kMost);
    }
    return r;
}

Record record_of(const JsonReader& json, const std::string& source) {
    Record r;
    r.id = json.string("id");
    r.device = json.string("device");
    r.kind = json.choice("kind", kKinds);
    r.op = json.string("op");
    r.params = pairs_of(json.at("params"));
    if (const auto schedule = json.find("schedule")) r.schedule = pairs_of(*schedule);
    r.metric = json.string("metric");
    if (const auto value = json.find("value")) {
        r.value = value->as_number(0, 1e18);
    } else {
        r.failure = "the measurement failed: " + json.string_or("reason", "no reason given");
    }
    if (const auto clock = json.find("sm_clock_mhz")) r.sm_clock_mhz = clock->as_number(1, 1e5);
    if (json.find("sm_clock")) r.clock_is_ceiling = json.choice("sm_clock", kClocks) != "measured";
    r.timing = Timing::event;
    if (const auto timing = json.find("timing")) {
        r.timing = timing_of(timing->as_string(), *timing);
    } else if (r.metric == "latency_cycles" || r.metric == "cycles" || r.metric == "latency_ns") {
        r.timing = Timing::in_kernel;
    }
    if (const auto graph = json.find("graph")) {
        constexpr int kMost = 1 << 20;
        r.graph_ops = static_cast<int>(graph->integer("ops", 1, kMost));
        r.graph_replays = static_cast<int>(graph->integer("replays", 1, kMost));
        const double warmups = graph->find("warmups") ? static_cast<double>(graph->integer("warmups", 0, kMost)) : 0;
        r.repetition = {warmups * r.graph_ops, static_cast<double>(r.graph_replays) * r.graph_ops};
    }
    if (const auto repeated = json.find("repeated")) r.repetition = repetition_of(*repeated);
    if (json.find("schedule_by")) r.schedule_of_library = json.choice("schedule_by", kAuthors) == "library";
    r.warm = json.string_or("cache", "none") == "warm";
    r.library = json.string_or("library", "");
    if (const auto origin = json.find("source")) {
        r.where = origin->string_or("where", "");
        r.locator = origin->string_or("locator", "");
    }
    r.source = source;
    return r;
}

/// What can be told of a record that cannot be read: the others of its file are good all the same.
Record unreadable(const nlohmann::json& json, const std::string& source, const std::string& why) {
    const auto text = [&](const char* key) {
        const auto field = json.find(key);
        return field != json.end() && field->is_string() ? field->get<std::string>() : std::string();
    };
    Record r;
    r.id = text("id");
    r.device = text("device");
    r.kind = text("kind");
    r.op = text("op");
    r.metric = text("metric");
    r.source = source;
    r.failure = why;
    return r;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> pairs_of(const JsonReader& object) {
    if (!object.json().is_object()) object.fail("an object of parameters");
    std::vector<std::pair<std::string, std::string>> pairs;
    for (const auto& [key, value] : object.json().items()) {
        if (!value.is_null()) pairs.emplace_back(key, text_of(value));
    }
    return pairs;
}

const std::string* Record::find(const std::string& key) const {
    for (const auto& [name, text] : params) {
        if (name == key) return &text;
    }
    return nullptr;
}

double Record::number(const std::string& key, double otherwise) const {
    const std::string* text = find(key);
    if (text == nullptr) return otherwise;
    char* end = nullptr;
    const double read = std::strtod(text->c_str(), &end);
    return !text->empty() && *end == '\0' ? read : otherwise;
}

bool is_stream(const std::string& op) {
    return op == "stream" || op == "read" || op == "write" || op == "copy";
}

std::vector<Record> read_records(const std::string& path) {
    const nlohmann::json file = load_json(path);
    const JsonReader root(file, path, JsonReader::Mode::lenient);
    if (!file.is_object()) root.fail(fmt::format("an object of schema {}", kSchema));
    if (const std::string schema = root.string("schema"); schema != kSchema) root.at("schema").fail(kSchema);
    std::vector<Record> records;
    std::set<std::string> ids;
    const std::string source = std::filesystem::path(path).stem().string();
    for (const JsonReader& json : root.at("records").elements()) {
        const std::string id = json.string("id");
        try {
            records.push_back(record_of(json, source));
        } catch (const InputError& error) {
            records.push_back(unreadable(json.json(), source, error.what()));
        }
        if (!ids.insert(id).second) json.at("id").fail("an id that stands once in the file");
    }
    return records;
}

std::vector<Record> read_records(const std::vector<std::string>& paths) {
    std::vector<Record> all;
    std::set<std::string> sources;
    for (const std::string& path : paths) {
        auto records = read_records(path);
        const std::string name = records.empty() ? "" : records.front().source;
        std::string source = name;
        for (int n = 2; !records.empty() && !sources.insert(source).second; ++n) source = fmt::format("{}-{}", name, n);
        for (Record& record : records) {
            record.source = source;
            all.push_back(std::move(record));
        }
    }
    return all;
}

bool lower_is_better(const std::string& metric) {
    return metric == "time_us" || metric == "cycles" || metric == "latency_us" || metric == "latency_cycles" ||
           metric == "latency_ns";
}

}  // namespace memwall::validate
