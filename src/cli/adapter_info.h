/* adapter_info.h: what `model info` says about an adapter folder. */
#ifndef TR_CLI_ADAPTER_INFO_H
#define TR_CLI_ADAPTER_INFO_H

#include "base/status.h"

#include <stdbool.h>

tr_status tr_cli_adapter_info(const char *dir, bool check, bool json, tr_error *err);

#endif
