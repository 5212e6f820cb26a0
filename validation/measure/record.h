// One record of a memwall-reference/1 file, and the file: whole after every record, resumed when it is there already.
#pragma once

#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>

#include "case.h"

namespace memwall::measure {

/// Bad input: what, found, allowed. Exit status 2.
struct InputError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Where and when: the same for every record of a run.
struct Setting {
    std::string device;  ///< the label that correlate knows: h200-sxm, h100-sxm5 ...
    Json facts;          ///< what the driver says: name, driver, clocks, power limit, temperature
    std::string date;    ///< ISO 8601, UTC
    std::string run;     ///< tells one invocation from another: a record that failed is not tried twice in one
};

/// The label for a device's marketing name: "NVIDIA H200" is h200-sxm. An unknown name becomes its own, lower case.
[[nodiscard]] std::string device_label(const std::string& name);

/// The record of a case that ran: passed, or failed its check (then without a value).
[[nodiscard]] Json record_of(const Case& c, const Outcome& outcome, const Setting& setting);
/// The record of a case that could not run to its end.
[[nodiscard]] Json failed_record(const Case& c, const std::string& reason, const Setting& setting);

/// Writes `text` under another name first and renames it then: there is never half a file at `path`. Throws
/// std::runtime_error when that fails.
void write_whole(const std::filesystem::path& path, const std::string& text);

class ResultsFile {
public:
    /// Reads what an earlier run left at `path`, if anything. Throws InputError when the file is no memwall-reference/1
    /// or comes from another device or driver than `setting`.
    ResultsFile(std::filesystem::path path, const Setting& setting);

    /// True when the case needs no run: it has a good record, or failed in this very invocation.
    [[nodiscard]] bool has(const Case& c) const;
    /// Adds the record, or puts it in the place of one with its id, and writes the file: complete under another name
    /// first, then renamed. Throws std::runtime_error when that fails; the old file is then still there.
    void add(const Json& record);

    [[nodiscard]] std::size_t size() const { return records_.size(); }
    [[nodiscard]] std::size_t failed() const;

private:
    void write() const;

    std::filesystem::path path_;
    Setting setting_;
    Json records_ = Json::array();
    std::map<std::string, std::size_t> place_;  // of an id in records_
};

}  // namespace memwall::measure
