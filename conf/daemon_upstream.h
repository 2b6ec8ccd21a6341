/*
 * conf/daemon_upstream: sections "upstream" of viaductd.conf. Private to conf/.
 */
#ifndef VD_CONF_DAEMON_UPSTREAM_H
#define VD_CONF_DAEMON_UPSTREAM_H

#include "conf/daemon.h"
#include "conf/file.h"

extern cfg_opt_t vd_conf_upstream_options[];

int vd_conf_upstream_read(struct vd_conf_daemon *c, struct vd_conf_file *f,
                          const struct vd_conf_section *section);
/* The option "upstream" of an allow or deny section. */
int vd_conf_upstream_of_rule(struct vd_conf_file *f, cfg_t *cfg, struct vd_conf_access *access);
/* When all sections are read: whether all titles that the file names exist. */
int vd_conf_upstream_check(const struct vd_conf_daemon *c, struct vd_conf_file *f);
/* Whether a hop of any upstream has one. */
bool vd_conf_upstream_passwords(const struct vd_conf_daemon *c);

#endif
