// Reference records (schema memwall-reference/1): what was measured, on what, and how.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json_reader.h"
#include "base/repetition.h"

namespace memwall::validate {

/// What a measured value contains beside the kernel's own time.
enum class Timing {
    in_kernel,          ///< clocks read inside the kernel
    event,              ///< many launches in a stream between two events: the gap from one to the next is in it
    event_with_launch,  ///< one short call between events: the launch is in it
    graph_node,         ///< replays of a CUDA graph, per operation: the gap between nodes is in it
    profiler,           ///< the profiler's duration of the kernel
    per_launch,         ///< the launch itself is what is measured
    served,             ///< a server's time: Python and scheduling are in it
};

struct Record {
    std::string id;
    std::string device;  ///< as published: h800-pcie is not renamed
    std::string kind;    ///< micro: may set a part's number; kernel, model: judge predictions
    std::string op;
    std::vector<std::pair<std::string, std::string>> params;    ///< values as text; objects and arrays as JSON
    std::vector<std::pair<std::string, std::string>> schedule;  ///< "tile" as "128x256x64"
    /// `"schedule_by": "library"`: what the library takes for this work, not one of several that were tried.
    bool schedule_of_library = false;
    std::string metric;
    double value = 0;
    std::optional<double> sm_clock_mhz;
    /// `"sm_clock"`: `locked`, set and not read, or `around`, read before and after the work and not during it: what
    /// the board ran at may have been lower, by its power limit or by the boost that tensor cores allow.
    bool clock_is_ceiling = false;
    Timing timing = Timing::event;
    int graph_ops = 0;      ///< graph_node: operations in the graph; 0: not known
    int graph_replays = 0;  ///< graph_node: replays between the two events
    /// `"repeated"`, else what the graph and its replays come to; not known: once.
    Repetition repetition;
    bool warm = false;  ///< operands used again and again: they may be in L2
    std::string library, where, locator;
    std::string source;   ///< name of the file, without its ending
    std::string failure;  ///< why it cannot be compared: the measurement failed, or a field cannot be read

    [[nodiscard]] const std::string* find(const std::string& key) const;
    /// A parameter that is a number; `otherwise` when it is absent or a word.
    [[nodiscard]] double number(const std::string& key, double otherwise = 0) const;
};

/// `stream` and its shorthands.
bool is_stream(const std::string& op);

/// The members of an object of parameters as text: a boolean as 1 or 0, a list of whole numbers as a tile (128x256x64).
std::vector<std::pair<std::string, std::string>> pairs_of(const JsonReader& object);

/// Reads the records of a file. Those of a measuring run that failed have no value and say why, as do those with a
/// field that is missing or cannot be read (file and JSON pointer, what was found, what is allowed). Throws InputError
/// for what is wrong with the file: its schema, a record without an id, an id that stands twice.
std::vector<Record> read_records(const std::string& path);

/// Reads several files. Two of the same name get different sources: source and id together are unique.
std::vector<Record> read_records(const std::vector<std::string>& paths);

/// True when less is better: times and latencies.
bool lower_is_better(const std::string& metric);

}  // namespace memwall::validate
