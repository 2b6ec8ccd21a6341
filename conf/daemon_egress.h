/*
 * conf/daemon_egress: the options "source" and "family", at the top of viaductd.conf, of upstreams
 * and of allow rules. Private to conf/.
 */
#ifndef VD_CONF_DAEMON_EGRESS_H
#define VD_CONF_DAEMON_EGRESS_H

#include "conf/daemon.h"
#include "conf/file.h"

/* `line` is where the section ends. */
int vd_conf_egress_read(struct vd_conf_file *f, cfg_t *cfg, int line,
                        struct vd_conf_egress *egress);
/* When all is linked: whether every way out has a family left. 0, or -1 with *error. */
int vd_conf_egress_check(const struct vd_conf_daemon *c, char **error);

#endif
