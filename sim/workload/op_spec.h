// Operations by name, as written after --op and in reference records: "gemm m=1 n=4096 k=4096 dtype=bf16".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "trace/trace.h"

namespace memwall::workload {

/// An operation and its parameters, checked against the table of the contract: the op is known, every key is its own,
/// none stands twice. Values are read by the typed getters, which name op, key, what was found and what is allowed.
class OpSpec {
public:
    OpSpec(std::string op, std::vector<std::pair<std::string, std::string>> params);

    [[nodiscard]] const std::string& op() const { return op_; }
    [[nodiscard]] const std::vector<std::pair<std::string, std::string>>& params() const { return params_; }
    [[nodiscard]] bool has(const std::string& key) const;
    /// A positive integer; k, M, G suffixes are not understood on purpose: sizes are exact.
    [[nodiscard]] std::int64_t number(const std::string& key) const;
    [[nodiscard]] std::int64_t number(const std::string& key, std::int64_t otherwise) const;
    [[nodiscard]] bool flag(const std::string& key, bool otherwise) const;
    [[nodiscard]] std::string word(const std::string& key, const std::string& otherwise,
                                   const std::vector<std::string>& allowed) const;
    [[nodiscard]] trace::Dtype dtype(const std::string& key = "dtype") const;
    [[nodiscard]] trace::Dtype dtype(const std::string& key, trace::Dtype otherwise) const;
    [[nodiscard]] trace::Runtime runtime(trace::Runtime otherwise) const;
    [[nodiscard]] const std::string* find(const std::string& key) const;

private:
    [[nodiscard]] std::string where(const std::string& key) const;

    std::string op_;
    std::vector<std::pair<std::string, std::string>> params_;
};

/// "OP key=value ...", as `parse_op` reads it.
std::string text_of(const OpSpec& op);
/// Parses "OP key=value ...". Throws InputError.
OpSpec parse_op(const std::string& text);

/// Names of all operations, in the contract's order.
std::vector<std::string> op_names();

/// "128x256x64" or "128,256,64". Throws InputError naming `where`.
std::array<int, 3> parse_tile(const std::string& text, const std::string& where);

}  // namespace memwall::workload
