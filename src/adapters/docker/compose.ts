/** What Docker Compose writes on its containers, read. Pure. */

export type Labels = Readonly<Record<string, string>>;

export interface Labelled {
  readonly id: string;
  readonly labels: Labels;
}

interface Service {
  readonly project: string;
  readonly name: string;
}

/** null: not one of Compose's. */
export function serviceOf(labels: Labels): Service | null {
  const { ['com.docker.compose.project']: project, ['com.docker.compose.service']: name } = labels;
  // What `compose run` started is of its service, but is none of what Compose keeps running.
  const isOneOff = labels['com.docker.compose.oneoff'] === 'True';
  return project === undefined || name === undefined || isOneOff ? null : { project, name };
}

interface Dependency {
  readonly service: string;
  readonly condition: string;
  /** Whether it is to be restarted with that one. */
  readonly restart: boolean;
}

/** `com.docker.compose.depends_on`: `db:service_healthy:true,cache:service_started:false`. */
function dependenciesOf(labels: Labels): readonly Dependency[] {
  return (labels['com.docker.compose.depends_on'] ?? '').split(',').flatMap((one) => {
    const [service = '', condition = '', restart = ''] = one.split(':');
    return service === '' ? [] : [{ service, condition, restart: restart === 'true' }];
  });
}

export interface Ordered {
  readonly id: string;
  /** Those that have to be healthy before it is started. */
  readonly startsAfter: readonly string[];
}

/**
 * The declared containers and all that are to restart with one of them, each before what it depends on: the order of
 * stopping. `others`: of the same projects.
 */
export function dependantsOf(declared: readonly Labelled[], others: readonly Labelled[]): readonly Ordered[] {
  const known = [...declared, ...others.filter(({ id }) => !declared.some((one) => one.id === id))];
  const inProject = (labels: Labels, service: string): readonly Labelled[] =>
    known.filter(({ labels: theirs }) => {
      const found = serviceOf(theirs);
      return found?.name === service && found.project === serviceOf(labels)?.project;
    });
  const taken = new Set(declared.map(({ id }) => id));
  for (let grew = true; grew;) {
    grew = false;
    for (const { id, labels } of known) {
      const follows =
        serviceOf(labels) !== null &&
        dependenciesOf(labels).some(
          ({ service, restart }) => restart && inProject(labels, service).some((one) => taken.has(one.id)),
        );
      if (!follows || taken.has(id)) continue;
      taken.add(id);
      grew = true;
    }
  }
  const ordered: Ordered[] = [];
  const visited = new Set<string>();
  const visit = ({ id, labels }: Labelled): void => {
    if (!taken.has(id) || visited.has(id)) return;
    visited.add(id);
    const needed = dependenciesOf(labels).flatMap((dependency) =>
      inProject(labels, dependency.service).map((one) => ({ ...one, condition: dependency.condition })),
    );
    for (const one of needed) visit(one);
    const startsAfter = needed
      .filter((one) => one.condition === 'service_healthy' && taken.has(one.id))
      .map((one) => one.id);
    ordered.unshift({ id, startsAfter });
  };
  for (const one of known) visit(one);
  return ordered;
}
