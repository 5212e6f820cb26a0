// What is measured: a list of cases, plain data, the same on every machine. How a case runs is a family's business
// (families/*.cu); this part needs no CUDA, so that the list itself is tested without a GPU.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace memwall::measure {

using Json = nlohmann::ordered_json;

/// Who runs a case: a file of families/ each.
enum class Family { latency, bandwidth, engine, launch, experiment, gemm, skinny, attention, rows, layer };

/// One measurement, which becomes one record.
struct Case {
    Family family;
    std::string op;    ///< an operation of the contract, or a name of our own where it has none (mbarrier, gpc_map)
    std::string kind;  ///< micro, kernel or model
    Json params;       ///< the operation's parameters, flat: strings, integers, booleans
    Json schedule;     ///< tile, stages, split ..., flat; null when the operation has none
    std::string metric = "time_us";  ///< a metric of memwall-reference/1
    /// cold: inputs rotate over more memory than L2 holds; warm: the same inputs again and again; none: not a matter
    std::string cache = "none";
    bool quick = false;   ///< part of the quick suite
    double gpu_ms = 400;  ///< GPU time that the case may take, its check included

    /// Stable from run to run and readable: op, then key-value pairs in order, then the schedule's, then the cache.
    /// Letters, digits, '.', '_' and '-' only.
    [[nodiscard]] std::string id() const;
    [[nodiscard]] std::int64_t number(const char* key) const { return params.at(key).get<std::int64_t>(); }
    [[nodiscard]] std::string text(const char* key) const { return params.at(key).get<std::string>(); }
    [[nodiscard]] std::int64_t scheduled(const char* key) const { return schedule.at(key).get<std::int64_t>(); }
};

/// How a case's correctness was judged.
struct Check {
    std::string against;  ///< what it was compared with; empty when the case computes nothing to compare
    double error = 0;     ///< relative: |out - reference| / |reference| (2-norms)
    double tolerance = 0;
    std::string reason;  ///< why it failed; empty when it passed
};

/// What running a case gave.
struct Outcome {
    std::vector<double> samples;  ///< in the metric's unit; the record's value is their median
    double sm_clock_mhz = 0;      ///< during the samples; 0 when unknown
    Check check;
    std::string method;  ///< how it was timed, in a few words
    Json details;        ///< what else is worth keeping (maps, curves); null when nothing
};

using Cases = std::vector<Case>;

// Each family adds its cases (families/*_cases.cpp).
void add_latency_cases(Cases& cases);
void add_bandwidth_cases(Cases& cases);
void add_engine_cases(Cases& cases);  // wgmma, TMA, barriers, distributed shared memory
void add_launch_cases(Cases& cases);
void add_experiment_cases(Cases& cases);  // the map of the chip
void add_gemm_cases(Cases& cases);
void add_skinny_cases(Cases& cases);
void add_attention_cases(Cases& cases);
void add_row_cases(Cases& cases);
void add_layer_cases(Cases& cases);

/// All cases of the suite ("quick" or "full"), in the order in which they run; ids are unique.
[[nodiscard]] Cases suite(const std::string& name);

}  // namespace memwall::measure
