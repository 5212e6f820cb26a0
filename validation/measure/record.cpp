#include "record.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <fstream>

#include "statistics.h"

namespace memwall::measure {

namespace {

constexpr const char* kSchema = "memwall-reference/1";

/// What every record of a case starts with, whatever came of it. A `library` among the parameters is no parameter of
/// the operation: it says whose kernel ran.
Json header_of(const Case& c, const Setting& setting) {
    Json params = c.params;
    std::string library = "memwall kernels";
    if (params.contains("library")) {
        library = params["library"].get<std::string>();
        params.erase("library");
    }
    Json record;
    record["id"] = c.id();
    record["kind"] = c.kind;
    record["device"] = setting.device;
    record["op"] = c.op;
    record["params"] = params;
    record["schedule"] = c.schedule;
    record["metric"] = c.metric;
    record["value"] = nullptr;
    record["sm_clock_mhz"] = nullptr;
    record["library"] = library;
    record["source"] = {{"where", "memwall-measure"}, {"locator", c.id()}};
    record["cache"] = c.cache;
    record["status"] = "failed";
    return record;
}

void add_footer(Json& record, const Setting& setting) {
    record["date"] = setting.date;
    record["run"] = setting.run;
}

/// Why an outcome is no good; empty when it is.
std::string fault_of(const Outcome& outcome) {
    if (!outcome.check.reason.empty()) return outcome.check.reason;
    if (outcome.samples.empty()) return "no samples";
    const auto bad = [](double sample) { return !std::isfinite(sample) || sample < 0; };
    if (std::ranges::any_of(outcome.samples, bad)) return "a sample is negative or not a number";
    if (!outcome.check.against.empty() && !(outcome.check.error <= outcome.check.tolerance)) {
        return "relative error " + std::to_string(outcome.check.error) + " against " + outcome.check.against +
               ", allowed " + std::to_string(outcome.check.tolerance);
    }
    return "";
}

Json check_of(const Check& check) {
    if (check.against.empty()) return nullptr;
    Json json = {{"against", check.against}, {"relative_error", check.error}, {"tolerance", check.tolerance}};
    if (!std::isfinite(check.error)) json["relative_error"] = nullptr;
    return json;
}

}  // namespace

std::string device_label(const std::string& name) {
    struct Known {
        const char *part, *label;
    };
    // Longer names first: "H100 PCIe" also contains "H100".
    for (const Known& known :
         {Known{"GH200", "gh200"}, Known{"H200 NVL", "h200-nvl"}, Known{"H200", "h200-sxm"},
          Known{"H100 PCIe", "h100-pcie"}, Known{"H100 NVL", "h100-nvl"}, Known{"H800 PCIe", "h800-pcie"},
          Known{"H800", "h800-sxm5"}, Known{"H20", "h20"}, Known{"H100", "h100-sxm5"}}) {
        if (name.find(known.part) != std::string::npos) return known.label;
    }
    std::string label;
    for (const char c : name) {
        label += std::isalnum(static_cast<unsigned char>(c)) != 0
                     ? static_cast<char>(std::tolower(static_cast<unsigned char>(c)))
                     : '-';
    }
    return label;
}

Json record_of(const Case& c, const Outcome& outcome, const Setting& setting) {
    Json record = header_of(c, setting);
    const std::string fault = fault_of(outcome);
    if (!fault.empty()) record["reason"] = fault;
    if (!outcome.samples.empty()) {
        const Summary s = summarise(outcome.samples);
        if (fault.empty()) {
            record["status"] = "ok";
            record["value"] = s.median;
        }
        record["statistics"] = {
            {"median", s.median}, {"minimum", s.minimum}, {"p10", s.p10}, {"p90", s.p90}, {"count", s.count}};
    }
    if (outcome.sm_clock_mhz > 0) record["sm_clock_mhz"] = std::round(outcome.sm_clock_mhz * 10) / 10;
    record["check"] = check_of(outcome.check);
    record["method"] = outcome.method;
    if (!outcome.details.is_null()) record["details"] = outcome.details;
    add_footer(record, setting);
    return record;
}

Json failed_record(const Case& c, const std::string& reason, const Setting& setting) {
    Json record = header_of(c, setting);
    record["reason"] = reason;
    add_footer(record, setting);
    return record;
}

ResultsFile::ResultsFile(std::filesystem::path path, const Setting& setting)
    : path_(std::move(path)), setting_(setting) {
    if (!std::filesystem::exists(path_)) return;
    std::ifstream in(path_);
    Json old;
    try {
        old = Json::parse(in);
    } catch (const Json::parse_error& error) {
        throw InputError(path_.string() + ": not JSON: " + error.what());
    }
    if (!old.is_object() || old.value("schema", "") != kSchema || !old.contains("records")) {
        throw InputError(path_.string() + ": /schema: found no " + kSchema + " file; allowed: a new name, or a file " +
                         "of an earlier run");
    }
    const Json measured = old.value("measured", Json::object());
    for (const char* key : {"name", "driver"}) {
        const std::string was = measured.value(key, ""), is = setting.facts.value(key, "");
        if (was != is) {
            throw InputError(path_.string() + ": /measured/" + key + ": found \"" + was + "\", and this device has \"" +
                             is + "\"; allowed: a file of the same device, or another name for --out");
        }
    }
    for (const Json& record : old["records"]) {
        place_[record.at("id").get<std::string>()] = records_.size();
        records_.push_back(record);
    }
}

bool ResultsFile::has(const Case& c) const {
    const auto at = place_.find(c.id());
    if (at == place_.end()) return false;
    const Json& record = records_[at->second];
    return record.value("status", "ok") == "ok" || record.value("run", "") == setting_.run;
}

void ResultsFile::add(const Json& record) {
    const auto id = record.at("id").get<std::string>();
    if (const auto at = place_.find(id); at != place_.end()) {
        records_[at->second] = record;
    } else {
        place_[id] = records_.size();
        records_.push_back(record);
    }
    write();
}

std::size_t ResultsFile::failed() const {
    const auto bad = [](const Json& record) { return record.value("status", "ok") != "ok"; };
    return static_cast<std::size_t>(std::ranges::count_if(records_, bad));
}

void ResultsFile::write() const {
    Json measured = setting_.facts;
    measured["device"] = setting_.device;
    measured["date"] = setting_.date;
    // A record a line: files of measurements are compared line by line.
    std::string text =
        std::string("{ \"schema\": \"") + kSchema + "\",\n  \"measured\": " + measured.dump() + ",\n  \"records\": [";
    const char* separator = "\n    ";
    for (const Json& record : records_) {
        text += separator + record.dump();
        separator = ",\n    ";
    }
    write_whole(path_, text + "\n  ] }\n");
}

void write_whole(const std::filesystem::path& path, const std::string& text) {
    std::filesystem::path next = path;
    next += ".part";
    std::ofstream out(next, std::ios::trunc);
    out << text;
    out.close();
    std::error_code error;
    if (out) std::filesystem::rename(next, path, error);
    if (!out || error) {
        std::error_code ignored;
        std::filesystem::remove(next, ignored);
        throw std::runtime_error(path.string() + ": cannot be written (disk full, no such folder, or no permission)");
    }
}

}  // namespace memwall::measure
